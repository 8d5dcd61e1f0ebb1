"""Download open datasets: `bench data get`. No other command downloads a dataset."""
