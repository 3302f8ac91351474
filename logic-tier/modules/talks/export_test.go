package talks

// SweepOnce sweeps without waiting for the interval.
var SweepOnce = (*Module).sweepOnce

// SlugOf derives a slug from a title.
var SlugOf = slugOf
