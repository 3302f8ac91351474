package talks

import (
	"crypto/rand"
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"techtalks.example/logic-tier/platform/apperror"
)

// slugs are the last parts of names, by which channels and talks are found; at
// most 150 characters, so that a whole name keeps to the contract's 300.
var slugs = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

const longestSlug = 140

func isSlug(s string) bool { return len(s) <= longestSlug && slugs.MatchString(s) }

var (
	errNoChannel = apperror.New(apperror.NotFound, "CHANNEL_NOT_FOUND", "there is no such channel")
	errNoTalk    = apperror.New(apperror.NotFound, "TALK_NOT_FOUND", "there is no such talk")
	errWithdrawn = apperror.New(apperror.NotFound, "TALK_WITHDRAWN", "this talk was withdrawn by who published it")
	errNotOwner  = apperror.New(apperror.Denied, "NOT_CHANNEL_OWNER", "only who made the channel may do this")
)

// parseChannel reads "channels/{channel}". Names are found without case.
func parseChannel(field, name string) (slug string, err error) {
	slug, isChannel := strings.CutPrefix(strings.ToLower(name), "channels/")
	if !isChannel || !isSlug(slug) {
		return "", apperror.InvalidField("NAME_INVALID", field, `use a channel's name, "channels/{channel}"`)
	}
	return slug, nil
}

// parseTalk reads "channels/{channel}/talks/{talk}".
func parseTalk(field, name string) (channel, slug string, err error) {
	channel, slug, isTalk := strings.Cut(strings.ToLower(name), "/talks/")
	channel, isChannel := strings.CutPrefix(channel, "channels/")
	if !isTalk || !isChannel || !isSlug(channel) || !isSlug(slug) {
		return "", "", apperror.InvalidField("NAME_INVALID", field, `use a talk's name, "channels/{channel}/talks/{talk}"`)
	}
	return channel, slug, nil
}

// maxSlug bounds the part of a name that is made from a title.
const maxSlug = 80

// letters are those that stay whole when accents are taken off, as people write
// them without.
var letters = strings.NewReplacer("ß", "ss", "æ", "ae", "œ", "oe", "ø", "o", "ł", "l", "đ", "d", "ð", "d", "þ", "th", "ı", "i", "'", "", "’", "")

// slugOf makes a name's part of a title: what is left of it in ASCII, or a word
// by chance when nothing is.
func slugOf(title string) string {
	var b strings.Builder
	for _, r := range norm.NFKD.String(letters.Replace(strings.ToLower(title))) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case unicode.Is(unicode.Mn, r):
			// An accent, taken off its letter.
		case b.Len() > 0 && b.String()[b.Len()-1] != '-':
			b.WriteByte('-')
		}
		if b.Len() >= maxSlug {
			break
		}
	}
	if slug := strings.Trim(b.String(), "-"); slug != "" {
		return slug
	}
	return "talk-" + chance()
}

// chance returns a short word by chance, for a name that is taken.
func chance() string { return strings.ToLower(rand.Text()[:6]) }
