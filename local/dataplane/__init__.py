"""The real parts behind data-plane resources: databases, broker, connectors, services, Workers, key-value store."""
