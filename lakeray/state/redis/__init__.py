"""The event store on a Redis server, shared by any number of processes."""
