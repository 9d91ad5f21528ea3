"""The contracts: records, topics, headers and plans. Imports nothing else of this project."""
