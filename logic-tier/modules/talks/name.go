package talks

import (
	"crypto/rand"
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"techtalks.example/logic-tier/platform/apperror"
)

// A slug is the last part of a name and identifies a channel, or a talk of a channel.
// maxSlug keeps a talk's name, which has two, within the contract's 300 characters.
const maxSlug = 140

var slugPattern = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func isSlug(s string) bool { return len(s) <= maxSlug && slugPattern.MatchString(s) }

var (
	errChannelNotFound = apperror.New(apperror.NotFound, "CHANNEL_NOT_FOUND", "there is no such channel")
	errTalkNotFound    = apperror.New(apperror.NotFound, "TALK_NOT_FOUND", "there is no such talk")
	errWithdrawn       = apperror.New(apperror.NotFound, "TALK_WITHDRAWN", "this talk was withdrawn by its publisher")
	errNotOwner        = apperror.New(apperror.Denied, "NOT_CHANNEL_OWNER", "only the channel's owner can do this")
)

// parseChannel parses "channels/{channel}". Names are case-insensitive.
func parseChannel(field, name string) (slug string, err error) {
	slug, isChannel := strings.CutPrefix(strings.ToLower(name), "channels/")
	if !isChannel || !isSlug(slug) {
		return "", apperror.InvalidField("NAME_INVALID", field, `use a channel's name, "channels/{channel}"`)
	}
	return slug, nil
}

// parseTalk parses "channels/{channel}/talks/{talk}".
func parseTalk(field, name string) (channel, slug string, err error) {
	channel, slug, isTalk := strings.Cut(strings.ToLower(name), "/talks/")
	channel, isChannel := strings.CutPrefix(channel, "channels/")
	if !isTalk || !isChannel || !isSlug(channel) || !isSlug(slug) {
		return "", "", apperror.InvalidField("NAME_INVALID", field, `use a talk's name, "channels/{channel}/talks/{talk}"`)
	}
	return channel, slug, nil
}

// maxTitleSlug bounds a slug derived from a title.
const maxTitleSlug = 80

// transliterate replaces the letters that Unicode decomposition leaves unchanged.
var transliterate = strings.NewReplacer("ß", "ss", "æ", "ae", "œ", "oe", "ø", "o", "ł", "l", "đ", "d", "ð", "d", "þ", "th", "ı", "i", "'", "", "’", "")

// slugOf derives a slug from a title: its ASCII letters and digits, without accents, or a
// random slug if it has none.
func slugOf(title string) string {
	var b strings.Builder
	for _, r := range norm.NFKD.String(transliterate.Replace(strings.ToLower(title))) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case unicode.Is(unicode.Mn, r):
			// Drop the accent.
		case b.Len() > 0 && b.String()[b.Len()-1] != '-':
			b.WriteByte('-')
		}
		if b.Len() >= maxTitleSlug {
			break
		}
	}
	if slug := strings.Trim(b.String(), "-"); slug != "" {
		return slug
	}
	return "talk-" + randomSuffix()
}

// randomSuffix returns a short random suffix for a slug.
func randomSuffix() string { return strings.ToLower(rand.Text()[:6]) }
