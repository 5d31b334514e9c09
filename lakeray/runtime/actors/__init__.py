"""The orchestrators, gates and steps of `lakeray up` as actors and tasks of Ray."""
