package ui

import (
	"fmt"
	"time"
)

// Bytes returns a number of bytes as people read it: "1.2 GB".
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

// Clock returns seconds as "1:05:09"; under an hour as "5:09".
func Clock(seconds int64) string {
	if seconds < 3600 {
		return fmt.Sprintf("%d:%02d", seconds/60, seconds%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
}

// Amount returns how much is done of how much in a unit of operations; total is
// 0 when it is not known.
func Amount(done, total int64, unit string) string {
	one := func(n int64) string {
		switch unit {
		case "bytes":
			return Bytes(n)
		case "seconds":
			return Clock(n)
		}
		return grouped(n)
	}
	text := one(done)
	if total > 0 {
		text += " of " + one(total)
	}
	if unit != "" && unit != "bytes" && unit != "seconds" {
		text += " " + unit
	}
	return text
}

// Left returns how long something likely still takes.
func Left(d time.Duration) string {
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
