package ui

import (
	"fmt"
	"time"
)

// Bytes formats a number of bytes in decimal units: "1.2 GB".
func Bytes(n int64) string {
	if n < 1000 {
		return Count(n, "byte", "bytes")
	}
	value, unit := float64(n), ""
	for _, unit = range []string{"KB", "MB", "GB", "TB"} {
		if value /= 1000; value < 999.5 {
			break
		}
	}
	if value < 9.95 {
		return fmt.Sprintf("%.1f %s", value, unit)
	}
	return fmt.Sprintf("%.0f %s", value, unit)
}

// Timecode formats seconds as "1:05:09", or "5:09" below an hour.
func Timecode(seconds int64) string {
	if seconds < 3600 {
		return fmt.Sprintf("%d:%02d", seconds/60, seconds%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
}

// Progress formats how much of an operation is done: "3 of 12 talks". total is 0 if it is
// unknown. The units bytes and seconds are formatted as such.
func Progress(done, total int64, unit string) string {
	format := func(n int64) string {
		switch unit {
		case "bytes":
			return Bytes(n)
		case "seconds":
			return Timecode(n)
		}
		return Number(n)
	}
	text := format(done)
	if total > 0 {
		text += " of " + format(total)
	}
	if unit != "" && unit != "bytes" && unit != "seconds" {
		text += " " + unit
	}
	return text
}

// Remaining formats an estimated time to completion: "about 5 min left".
func Remaining(d time.Duration) string {
	switch {
	case d < 5*time.Second:
		return "a few seconds left"
	case d < 100*time.Second:
		return fmt.Sprintf("about %d s left", int(d.Seconds()))
	case d < 100*time.Minute:
		return fmt.Sprintf("about %d min left", int(d.Round(time.Minute).Minutes()))
	}
	return fmt.Sprintf("about %d h left", int(d.Round(time.Hour).Hours()))
}
