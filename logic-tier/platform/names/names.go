// Package names holds the rule for the text by which people recognise things:
// titles of channels and talks, names of accounts and speakers, tags.
//
// A name must look like what it is. It is stored in Unicode NFC, so that equal
// looking names are equal, and must not contain characters that are invisible or
// that reorder its neighbours: control and format characters (Cc, Cf, among them
// the bidirectional controls), line and paragraph separators, and fillers such as
// U+3164. It must contain something visible.
//
// Two format characters have a place in correct spelling, and only there. ZERO
// WIDTH NON-JOINER and JOINER shape words in Persian, in Indic and in similar
// scripts, and the joiner combines emoji. Marks such as U+200E are refused, since
// pages isolate each name's direction; so are tag characters, which spell out a
// few regional flags but can hide any text.
package names

import (
	"errors"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// What is wrong with a name, and what to do about it.
var (
	ErrHidden = errors.New("remove invisible and control characters, such as zero-width spaces and text direction marks")
	ErrBlank  = errors.New("use at least one visible character")
)

const (
	nonJoiner = '\u200c'
	joiner    = '\u200d'
	// brailleBlank is a symbol by category, and looks like a space.
	brailleBlank = '\u2800'
)

// Clean returns name in NFC without white space around it. It returns ErrHidden or
// ErrBlank if the name breaks the rule; an empty name is blank.
func Clean(name string) (string, error) {
	name = strings.TrimSpace(norm.NFC.String(name))
	runes := []rune(name)
	visible := false
	for i, r := range runes {
		if hidden(r) && !joins(runes, i) {
			return name, ErrHidden
		}
		visible = visible || seen(r)
	}
	if !visible {
		return name, ErrBlank
	}
	return name, nil
}

// hidden reports whether r is invisible or changes how its neighbours are shown.
func hidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point)
}

// seen reports whether r shows by itself: spaces do not, nor do marks and variation
// selectors, which change the character before them.
func seen(r rune) bool {
	return unicode.IsGraphic(r) && !unicode.In(r, unicode.Zs, unicode.M) && !hidden(r) && r != brailleBlank
}

// joins reports whether the character at i is a joiner where spelling has one. It
// approximates the rules of RFC 5892, appendix A, and of emoji sequences in UTS 51.
func joins(runes []rune, i int) bool {
	if r := runes[i]; i == 0 || r != joiner && r != nonJoiner {
		return false
	}
	before := runes[i-1]
	if virama(before) {
		return true // also at the end of a word, as in Malayalam
	}
	if i+1 == len(runes) {
		return false
	}
	after := runes[i+1]
	if unicode.In(before, joining...) && unicode.In(after, joining...) {
		return unicode.In(before, unicode.L, unicode.M) && unicode.In(after, unicode.L, unicode.M)
	}
	return runes[i] == joiner && emoji(before) && unicode.Is(unicode.So, after)
}

// virama reports whether r is a sign that takes a consonant's vowel away.
func virama(r rune) bool {
	const class = 9 // canonical combining class
	return norm.NFC.PropertiesString(string(r)).CCC() == class
}

// joining are the scripts in whose words joiners occur.
var joining = []*unicode.RangeTable{
	unicode.Arabic, unicode.Syriac, unicode.Nko, unicode.Mongolian, unicode.Adlam,
	unicode.Devanagari, unicode.Bengali, unicode.Gurmukhi, unicode.Gujarati, unicode.Oriya, unicode.Tamil,
	unicode.Telugu, unicode.Kannada, unicode.Malayalam, unicode.Sinhala, unicode.Khmer, unicode.Myanmar,
}

// emoji reports whether r can end an emoji: a symbol, or what modifies one.
func emoji(r rune) bool {
	const firstSkinTone, lastSkinTone, emojiStyle = '\U0001f3fb', '\U0001f3ff', '\ufe0f'
	return unicode.Is(unicode.So, r) || r == emojiStyle || r >= firstSkinTone && r <= lastSkinTone
}
