// Package names validates and normalizes names: titles of channels and talks, display names
// of accounts and speakers, and tags.
//
// A name must not be deceptive. It is stored in Unicode NFC, so that names that look equal
// are equal. It must not contain characters that are invisible or that reorder their
// neighbours: control and format characters (Cc and Cf, including the bidirectional
// controls), line and paragraph separators, and fillers such as U+3164. It must contain a
// visible character.
//
// Two format characters are allowed where correct spelling needs them. ZERO WIDTH NON-JOINER
// and ZERO WIDTH JOINER shape words in Persian, Indic and similar scripts, and the joiner
// combines emoji. Direction marks such as U+200E are rejected, since pages isolate the
// direction of each name. Tag characters are rejected too: they spell a few regional flags,
// but can hide any text.
package names

import (
	"errors"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Errors returned by Clean. Their messages describe the fix.
var (
	ErrHidden = errors.New("remove invisible and control characters, such as zero-width spaces and text direction marks")
	ErrBlank  = errors.New("use at least one visible character")
)

const (
	nonJoiner = '\u200c'
	joiner    = '\u200d'
	// brailleBlank is in category So, but looks like a space.
	brailleBlank = '\u2800'
)

// Clean returns name in NFC without leading and trailing white space. It returns ErrHidden
// or ErrBlank if the name is invalid; an empty name is blank.
func Clean(name string) (string, error) {
	name = strings.TrimSpace(norm.NFC.String(name))
	runes := []rune(name)
	visible := false
	for i, r := range runes {
		if isHidden(r) && !isValidJoiner(runes, i) {
			return name, ErrHidden
		}
		visible = visible || isVisible(r)
	}
	if !visible {
		return name, ErrBlank
	}
	return name, nil
}

// isHidden reports whether r is invisible or changes the rendering of its neighbours.
func isHidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point)
}

// isVisible reports whether r is visible by itself. Spaces are not, nor are marks and
// variation selectors, which modify the preceding character.
func isVisible(r rune) bool {
	return unicode.IsGraphic(r) && !unicode.In(r, unicode.Zs, unicode.M) && !isHidden(r) && r != brailleBlank
}

// isValidJoiner reports whether runes[i] is a joiner or non-joiner where correct spelling
// can have one. It approximates RFC 5892, appendix A, and the emoji sequences of UTS 51.
func isValidJoiner(runes []rune, i int) bool {
	if r := runes[i]; i == 0 || r != joiner && r != nonJoiner {
		return false
	}
	before := runes[i-1]
	if isVirama(before) {
		return true // even at the end of a word, as in Malayalam
	}
	if i+1 == len(runes) {
		return false
	}
	after := runes[i+1]
	if unicode.In(before, joiningScripts...) && unicode.In(after, joiningScripts...) {
		return unicode.In(before, unicode.L, unicode.M) && unicode.In(after, unicode.L, unicode.M)
	}
	return runes[i] == joiner && canEndEmoji(before) && unicode.Is(unicode.So, after)
}

// isVirama reports whether r is a virama, which suppresses a consonant's inherent vowel.
func isVirama(r rune) bool {
	const viramaClass = 9 // canonical combining class
	return norm.NFC.PropertiesString(string(r)).CCC() == viramaClass
}

// joiningScripts are the scripts whose spelling uses joiners.
var joiningScripts = []*unicode.RangeTable{
	unicode.Arabic, unicode.Syriac, unicode.Nko, unicode.Mongolian, unicode.Adlam,
	unicode.Devanagari, unicode.Bengali, unicode.Gurmukhi, unicode.Gujarati, unicode.Oriya, unicode.Tamil,
	unicode.Telugu, unicode.Kannada, unicode.Malayalam, unicode.Sinhala, unicode.Khmer, unicode.Myanmar,
}

// canEndEmoji reports whether r can end an emoji: a symbol or an emoji modifier.
func canEndEmoji(r rune) bool {
	const firstSkinTone, lastSkinTone, emojiStyle = '\U0001f3fb', '\U0001f3ff', '\ufe0f'
	return unicode.Is(unicode.So, r) || r == emojiStyle || r >= firstSkinTone && r <= lastSkinTone
}
