"""Predictions for the messages of a stream: from a topic of Kafka or a subject of NATS JetStream to another."""
