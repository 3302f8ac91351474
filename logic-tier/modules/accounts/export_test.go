package accounts

// SweepOnce sweeps without waiting for the interval.
var SweepOnce = (*Module).sweepOnce
