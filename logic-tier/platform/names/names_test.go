package names_test

import (
	"errors"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"techtalks.example/logic-tier/platform/names"
)

func TestCleanAcceptsOrdinaryNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"Ada Lovelace", "O’Neil & Søn", "C++ / C#", "日本語", "한국어", "שלום", "العربية", "Ελληνικά", "İstanbul", "½ × 2 = 1",
		"می\u200cخواهم",               // Persian, "I want"
		"क\u094d\u200dष",              // Devanagari, half form
		"\u09b0\u200d\u09cd\u09af",    // Bengali, ya-phalaa after ra
		"\u0d28\u0d4d\u200d",          // Malayalam, a chillu at the end of a word
		"👩\u200d💻 at work",            // woman technologist
		"👩🏽\u200d🚀", "🏳\ufe0f\u200d🌈", // with a skin tone, with a variation selector
		"❤\ufe0f", "葛\U000e0100",
	} {
		if got, err := names.Clean(name); err != nil || got != norm.NFC.String(name) {
			t.Errorf("Clean(%+q) = %+q, %v; want it in NFC", name, got, err)
		}
	}
}

func TestCleanRejectsHiddenCharacters(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"a\u0085b", "a\x00b", "a\nb", "a\u009bb", // controls
		"a\u2028b", "a\u2029b", // separators
		"\u202egnp.exe", "a\u2066b", "a\u200eb", "a\u061cb", // bidirectional controls
		"a\u200bb", "a\u2060b", "a\u00adb", "a\ufeffb", "a\U000e0041b", // format characters
		"\u3164", "a\u115fb", "a\u1160b", "a\uffa0b", "a\u034fb", "a\u17b4b", // fillers
		"a\u200cb", "a\u200db", "\u200d", "👩\u200d", "👩\u200d\u200d💻", "👩\u200c💻", "خ\u200c", "\u200cخ", "خ\u200c\u200cخ", // misplaced joiners
	} {
		if got, err := names.Clean(name); !errors.Is(err, names.ErrHidden) {
			t.Errorf("Clean(%+q) = %+q, %v; want ErrHidden", name, got, err)
		}
	}
}

func TestCleanRejectsBlankNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", " \t\n", "\u3000", "\u2800", "\u2800 \u2800", "\u0301", "\ufe0f", " \u0301\u0302"} {
		if got, err := names.Clean(name); !errors.Is(err, names.ErrBlank) {
			t.Errorf("Clean(%+q) = %+q, %v; want ErrBlank", name, got, err)
		}
	}
}

func TestCleanNormalizes(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"  Zoe\u0308 ": "Zo\u00eb", "\u00a0a\u3000": "a", "\u212bngstr\u00f6m": "\u00c5ngstr\u00f6m"} {
		if got, err := names.Clean(name); err != nil || got != want {
			t.Errorf("Clean(%+q) = %+q, %v; want %+q", name, got, err, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("می\u200cخواهم")
	f.Fuzz(func(t *testing.T, name string) {
		if !utf8.ValidString(name) {
			return // strings of the contract are valid UTF-8
		}
		clean, err := names.Clean(name)
		if err != nil {
			return
		}
		if again, err := names.Clean(clean); err != nil || again != clean {
			t.Errorf("Clean(%+q) = %+q, but cleaning that again returns %+q, %v", name, clean, again, err)
		}
	})
}
