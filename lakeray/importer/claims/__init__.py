"""Parts of a source that are imported beside the running stream, under a claim that the stream leaves alone."""
