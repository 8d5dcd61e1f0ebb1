"""The run store on disk."""
