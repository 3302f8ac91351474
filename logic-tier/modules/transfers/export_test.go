package transfers

// SweepOnce lets tests sweep without waiting for the minute.
var SweepOnce = (*Module).sweepOnce
