"""The small modules behind which databases, brokers and HTTP stay."""
