"""The embedded broker as a real process."""



from deploy.local.kafka import check_kafka


async def test_a_running_broker_answers(kafka_bootstrap: str) -> None:
    """The check returns for a broker that is up."""
    await check_kafka(kafka_bootstrap)
