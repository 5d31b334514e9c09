"""What happened to every object version, and the ways back when a part of that is lost."""
