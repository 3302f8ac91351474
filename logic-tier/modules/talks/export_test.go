package talks

// SweepOnce lets tests sweep without waiting for the minute.
var SweepOnce = (*Module).sweepOnce

// SlugOf is how a talk's name is made from its title.
var SlugOf = slugOf
