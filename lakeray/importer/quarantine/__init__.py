"""Refused rows: kept beside the table, given another chance."""
