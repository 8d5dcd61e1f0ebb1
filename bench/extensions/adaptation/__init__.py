"""What labels of a few local patients buy at one hospital: `bench adapt`."""
