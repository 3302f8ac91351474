package ui

import (
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"
	"golang.org/x/text/language/display"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// capital returns s with a capital letter at the start and a full stop at the
// end.
func capital(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	if size == 0 {
		return s
	}
	return string(unicode.ToUpper(r)) + strings.TrimSuffix(s[size:], ".") + "."
}

// languageNames remembers what LanguageName found: looking a name up costs more
// than rendering the talk it is for. Bounded by the codes there are.
var languageNames sync.Map

// LanguageName returns what a language is called in English; its code when it
// has no name.
func LanguageName(code string) string {
	if name, ok := languageNames.Load(code); ok {
		return name.(string)
	}
	name := code
	if tag, err := language.Parse(code); err == nil && len(code) == 3 {
		if found := display.English.Languages().Name(tag); found != "" {
			name = found
		}
		languageNames.Store(code, name)
	}
	return name
}

// Length returns a duration as people write it: "1 h 5 min".
func Length(d *durationpb.Duration) string {
	if d == nil {
		return ""
	}
	minutes := int(d.AsDuration().Round(time.Minute).Minutes())
	switch {
	case minutes < 1:
		return "under a minute"
	case minutes < 60:
		return fmt.Sprintf("%d min", minutes)
	case minutes%60 == 0:
		return fmt.Sprintf("%d h", minutes/60)
	}
	return fmt.Sprintf("%d h %d min", minutes/60, minutes%60)
}

// Day returns a time's day as people read it.
func Day(t *timestamppb.Timestamp) string { return t.AsTime().Format("2 January 2006") }

// Moment returns a time as people read it, in the server's only zone; with
// JavaScript the page shows the reader's own.
func Moment(t *timestamppb.Timestamp) string { return t.AsTime().Format("2 January 2006, 15:04 UTC") }

// ClockTime returns a time of day.
func ClockTime(t *timestamppb.Timestamp) string { return t.AsTime().Format("15:04:05") }

// Machine returns a time as machines read it (HTML's datetime attribute).
func Machine(t *timestamppb.Timestamp) string { return t.AsTime().Format(time.RFC3339) }

// Count returns a number with its noun.
func Count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + many
}

// Number returns a number as people read it: "1,234".
func Number(n int64) string { return grouped(n) }

// Sentence returns a message with a capital letter at the start and a full stop
// at the end.
func Sentence(s string) string { return capital(s) }

func grouped(n int64) string {
	digits := fmt.Sprint(n)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// Path returns the page of a resource name, "channels/x/talks/y" at
// "/channels/x/talks/y".
func Path(name string) string { return "/" + name }

// FilePath returns where the bytes of an upload are read, "uploads/x" at
// "/files/x": what is at its own name is the upload protocol.
func FilePath(upload string) string { return "/files/" + strings.TrimPrefix(upload, "uploads/") }

func bell(unread int32) string {
	if unread >= 100 {
		return "99+"
	}
	return fmt.Sprint(unread)
}
