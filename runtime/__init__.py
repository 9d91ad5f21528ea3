"""What every process needs and nothing more. Imports only `schemas`."""
