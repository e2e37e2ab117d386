"""What an analysis is, and every judgement about one. Pure: no socket, no table, no clock."""
