package accounts

// SweepOnce lets tests sweep without waiting for the hour.
var SweepOnce = (*Module).sweepOnce
