package transfers

// SweepOnce deletes expired rows now.
var SweepOnce = (*Module).sweepOnce
