"""The rows of a table are put into other files here, in another order, without a row being changed."""
