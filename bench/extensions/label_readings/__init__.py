"""The gap under each way to read uncertain and unmentioned labels of the test images."""
