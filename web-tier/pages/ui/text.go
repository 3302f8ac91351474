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

// Sentence returns s with its first letter in upper case and a full stop at the end.
func Sentence(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	if size == 0 {
		return s
	}
	return string(unicode.ToUpper(r)) + strings.TrimSuffix(s[size:], ".") + "."
}

// languageNames caches the results of LanguageName: a lookup costs more than rendering the
// rest of a talk's list item. The number of existing codes bounds its size.
var languageNames sync.Map

// LanguageName returns the English name of the language with the given three-letter code. It
// returns code itself if the language is unknown.
func LanguageName(code string) string {
	if name, ok := languageNames.Load(code); ok {
		return name.(string)
	}
	name := code
	if tag, err := language.Parse(code); err == nil && len(code) == 3 {
		if english := display.English.Languages().Name(tag); english != "" {
			name = english
		}
		languageNames.Store(code, name)
	}
	return name
}

// Duration formats d in hours and minutes: "1 h 5 min".
func Duration(d *durationpb.Duration) string {
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

// Date formats the date of t in UTC: "2 January 2006".
func Date(t *timestamppb.Timestamp) string { return t.AsTime().Format("2 January 2006") }

// DateTime formats t with date and time in UTC. With JavaScript, page.js replaces it by the
// reader's local time.
func DateTime(t *timestamppb.Timestamp) string { return t.AsTime().Format("2 January 2006, 15:04 UTC") }

// TimeOfDay formats the time of day of t in UTC.
func TimeOfDay(t *timestamppb.Timestamp) string { return t.AsTime().Format("15:04:05") }

// RFC3339 formats t for HTML's datetime attribute.
func RFC3339(t *timestamppb.Timestamp) string { return t.AsTime().Format(time.RFC3339) }

// Count returns n followed by its noun in the singular or the plural.
func Count(n int64, singular, plural string) string {
	if n == 1 {
		return "1 " + singular
	}
	return Number(n) + " " + plural
}

// Number formats n with thousands separators: "1,234".
func Number(n int64) string {
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

// Path returns the path of a resource's page: "/channels/x/talks/y" for
// "channels/x/talks/y".
func Path(name string) string { return "/" + name }

// FilePath returns the download path of an upload: "/files/x" for "uploads/x". The path
// "/uploads/x" belongs to the upload protocol.
func FilePath(upload string) string { return "/files/" + strings.TrimPrefix(upload, "uploads/") }

// unreadBadge formats the number on the inbox icon.
func unreadBadge(unread int32) string {
	if unread >= 100 {
		return "99+"
	}
	return fmt.Sprint(unread)
}
