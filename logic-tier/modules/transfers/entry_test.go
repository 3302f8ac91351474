package transfers

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

func TestPathsOfTheLayout(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path, channel, talk string
		category, part      bool
	}{
		{"pyvideo/pycon-us-2019/category.json", "pycon-us-2019", "", true, true},
		{"pycon-us-2019/videos/a-talk.json", "pycon-us-2019", "a-talk", false, true},
		{"./pycon-us-2019//videos/a-talk.json", "pycon-us-2019", "a-talk", false, true},
		{"LICENSE", "", "", false, false},
		{"pycon/videos/notes.txt", "", "", false, false},
	} {
		got, ok := locate(c.path)
		if ok != c.part || ok && got.category != c.category {
			t.Errorf("%s: %+v, %v", c.path, got, ok)
		}
		if ok && c.channel != "" && (got.channel != c.channel || got.talk != c.talk) {
			t.Errorf("%s: %+v", c.path, got)
		}
	}
}

func TestPathsThatHaveNoPlaceInAnArchive(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"../../event/category.json":         "..",
		"event/videos/../../../etc/talk.js": "..",
		"..":                                "..",
		"/event/category.json":              "root of a disk",
		"C:/event/category.json":            "root of a disk",
		`event\videos\a.json`:               "backslash",
		`..\..\event\category.json`:         "backslash",
		strings.Repeat("x/", 600):           "longer than 1,000 bytes",
		"event/videos/a..b.json":            "",
		"./event/videos/...json":            "",
	} {
		if got := wrongWith(path); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%.60q: %q, want %q", path, got, want)
		}
	}
}

func TestNamesThatDifferStayDifferent(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, name := range []string{"a-b", "a--b", "a_b", "A-b", "a b", "à-b", "日本", "日本語", "1-b", "-", strings.Repeat("x", 100), strings.Repeat("x", 101)} {
		s := slug(name, 100)
		if other, taken := seen[s]; taken {
			t.Errorf("%q and %q both become %q", name, other, s)
		}
		if !cleanSlug.MatchString(s) || len(s) > 100 {
			t.Errorf("%q becomes %q, which is no name part", name, s)
		}
		if slug(name, 100) != s {
			t.Errorf("%q becomes another name each time", name)
		}
		seen[s] = name
	}
	if slug("pycon-us-2019", 60) != "pycon-us-2019" {
		t.Error("a clean name was changed")
	}
}

func TestRealWorldEntries(t *testing.T) {
	t.Parallel()
	where := place{channel: "c", talk: "t"}
	talk, err := parseTalk(where, []byte(`{"title": " Line\none ", "description": null, "summary": "S", "speakers": ["A", " ", "B"],
		"language": "eng", "tags": ["Web", ""], "recorded": "2019-05-03T10:00:00+02:00", "duration": 12.6, ",duration": 1,
		"videos": [{"type": "x", "url": "ftp://old"}, {"url": "https://new"}], "category": "C", "id": 5}`))
	if err != nil {
		t.Fatal(err)
	}
	if own, err := parseTalk(where, []byte(`{"title": "A", "talk": "10-tips"}`)); err != nil || own.Name != "channels/c/talks/10-tips" {
		t.Errorf("got %v, %v", own, err)
	}
	if foreign, err := parseTalk(where, []byte(`{"title": "A", "talk": "../x"}`)); err != nil || foreign.Name != "channels/c/talks/t" {
		t.Errorf("got %v, %v", foreign, err)
	}
	if talk.Title != "Line one" || talk.Description != "S" || len(talk.Speakers) != 2 || talk.Tags[0] != "web" ||
		talk.RecordedDate != "2019-05-03" || talk.Duration.Seconds != 13 || talk.MediaUrl != "https://new" || talk.Language != "eng" {
		t.Errorf("got %v", talk)
	}
}

// Copying leaves zero-width spaces behind; they are no reason to refuse an entry.
func TestZeroWidthSpacesInEntriesAreSpaces(t *testing.T) {
	t.Parallel()
	talk, err := parseTalk(place{channel: "c", talk: "t"}, []byte("{\"title\": \"\u200bBuild the \u200b\u200bmodel\ufeff\", \"speakers\": [\"\u200b\"]}"))
	if err != nil || talk.Title != "Build the model" || len(talk.Speakers) != 0 {
		t.Errorf("got %v, %v", talk, err)
	}
}

func TestBadEntriesSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		``:                                      "not JSON",
		`{"title": "a",`:                        "not JSON",
		"{\"title\": \"\xff\"}":                 "not UTF-8",
		`[]`:                                    "should be",
		`{"title": 5}`:                          "title: JSON number where there should be a string",
		`{}`:                                    "no title",
		`{"title": " "}`:                        "no title",
		`{"title":"a","speakers":"me"}`:         "speakers: JSON string where there should be an array",
		`{"title":"a","recorded":"2019-13-45"}`: "is no day",
		`{"title":"a","videos":[{"url":"javascript:alert(1)"}]}`: "no link starts with https://",
	} {
		if _, err := parseTalk(place{channel: "c", talk: "t"}, []byte(content)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v does not say %q", content, err, want)
		}
	}
}

func FuzzEntry(f *testing.F) {
	f.Add("c/videos/t.json", []byte(`{"title":"a","duration":1e9,"recorded":"2019-05-03"}`))
	f.Add("c/category.json", []byte(`{"title":"a"}`))
	f.Fuzz(func(t *testing.T, path string, content []byte) {
		where, ok := locate(path)
		if !ok {
			return
		}
		if !cleanSlug.MatchString(where.channel) || !where.category && !cleanSlug.MatchString(where.talk) {
			t.Fatalf("%q is located at %+v", path, where)
		}
		if talk, err := parseTalk(where, content); err == nil {
			// What is taken can be sent and stored.
			if _, err := proto.Marshal(talk); err != nil || strings.Contains(talk.String(), "\x00") {
				t.Fatalf("%q: %v", content, err)
			}
		}
		_, _, _ = parseCategory(content)
	})
}
