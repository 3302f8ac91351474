package transfers

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

func TestLocate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path, channel, talk string
		category, ok        bool
	}{
		{"pyvideo/pycon-us-2019/category.json", "pycon-us-2019", "", true, true},
		{"pycon-us-2019/videos/a-talk.json", "pycon-us-2019", "a-talk", false, true},
		{"./pycon-us-2019//videos/a-talk.json", "pycon-us-2019", "a-talk", false, true},
		{"LICENSE", "", "", false, false},
		{"pycon/videos/notes.txt", "", "", false, false},
	} {
		got, ok := locate(c.path)
		if ok != c.ok || ok && got.category != c.category {
			t.Errorf("%s: got %+v, %v", c.path, got, ok)
		}
		if ok && c.channel != "" && (got.channel != c.channel || got.talk != c.talk) {
			t.Errorf("%s: got %+v, want channel %q and talk %q", c.path, got, c.channel, c.talk)
		}
	}
}

func TestPathProblem(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"../../event/category.json":         "..",
		"event/videos/../../../etc/talk.js": "..",
		"..":                                "..",
		"/event/category.json":              "path is absolute",
		"C:/event/category.json":            "path is absolute",
		`event\videos\a.json`:               "backslash",
		`..\..\event\category.json`:         "backslash",
		strings.Repeat("x/", 600):           "longer than 1,000 bytes",
		"event/videos/a..b.json":            "",
		"./event/videos/...json":            "",
	} {
		if got := pathProblem(path); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%.60q: got %q, want %q", path, got, want)
		}
	}
}

func TestSlugIsUniqueAndDeterministic(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, name := range []string{"a-b", "a--b", "a_b", "A-b", "a b", "à-b", "日本", "日本語", "1-b", "-", strings.Repeat("x", 100), strings.Repeat("x", 101)} {
		s := slug(name, 100)
		if other, taken := seen[s]; taken {
			t.Errorf("%q and %q both become %q", name, other, s)
		}
		if !slugPattern.MatchString(s) || len(s) > 100 {
			t.Errorf("%q becomes %q, which is not a slug", name, s)
		}
		if slug(name, 100) != s {
			t.Errorf("%q becomes a different slug each time", name)
		}
		seen[s] = name
	}
	if slug("pycon-us-2019", 60) != "pycon-us-2019" {
		t.Error("a valid slug was changed")
	}
}

func TestParseTalkAcceptsRealWorldFiles(t *testing.T) {
	t.Parallel()
	loc := location{channel: "c", talk: "t"}
	talk, err := parseTalk(loc, []byte(`{"title": " Line\none ", "description": null, "summary": "S", "speakers": ["A", " ", "B"],
		"language": "eng", "tags": ["Web", ""], "recorded": "2019-05-03T10:00:00+02:00", "duration": 12.6, ",duration": 1,
		"videos": [{"type": "x", "url": "ftp://old"}, {"url": "https://new"}], "category": "C", "id": 5}`))
	if err != nil {
		t.Fatal(err)
	}
	if exported, err := parseTalk(loc, []byte(`{"title": "A", "talk": "10-tips"}`)); err != nil || exported.Name != "channels/c/talks/10-tips" {
		t.Errorf("got %v, %v; want the exported slug", exported, err)
	}
	if foreign, err := parseTalk(loc, []byte(`{"title": "A", "talk": "../x"}`)); err != nil || foreign.Name != "channels/c/talks/t" {
		t.Errorf("got %v, %v; want the slug from the file name", foreign, err)
	}
	if talk.Title != "Line one" || talk.Description != "S" || len(talk.Speakers) != 2 || talk.Tags[0] != "web" ||
		talk.RecordedDate != "2019-05-03" || talk.Duration.Seconds != 13 || talk.MediaUrl != "https://new" || talk.Language != "eng" {
		t.Errorf("got %v", talk)
	}
}

// Copying text leaves zero-width spaces behind.
func TestParseTalkTreatsZeroWidthSpacesAsSpaces(t *testing.T) {
	t.Parallel()
	talk, err := parseTalk(location{channel: "c", talk: "t"}, []byte("{\"title\": \"\u200bBuild the \u200b\u200bmodel\ufeff\", \"speakers\": [\"\u200b\"]}"))
	if err != nil || talk.Title != "Build the model" || len(talk.Speakers) != 0 {
		t.Errorf("got %v, %v", talk, err)
	}
}

func TestParseTalkReportsErrors(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		``:                                      "not JSON",
		`{"title": "a",`:                        "not JSON",
		"{\"title\": \"\xff\"}":                 "not UTF-8",
		`[]`:                                    "the file: must be an object, not a JSON array",
		`{"title": 5}`:                          "title: must be a string, not a JSON number",
		`{}`:                                    "no title",
		`{"title": " "}`:                        "no title",
		`{"title":"a","speakers":"me"}`:         "speakers: must be an array, not a JSON string",
		`{"title":"a","recorded":"2019-13-45"}`: "is not a date",
		`{"title":"a","videos":[{"url":"javascript:alert(1)"}]}`: "no link starts with https://",
	} {
		if _, err := parseTalk(location{channel: "c", talk: "t"}, []byte(content)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", content, err, want)
		}
	}
}

func FuzzParseTalk(f *testing.F) {
	f.Add("c/videos/t.json", []byte(`{"title":"a","duration":1e9,"recorded":"2019-05-03"}`))
	f.Add("c/category.json", []byte(`{"title":"a"}`))
	f.Fuzz(func(t *testing.T, path string, content []byte) {
		loc, ok := locate(path)
		if !ok {
			return
		}
		if !slugPattern.MatchString(loc.channel) || !loc.category && !slugPattern.MatchString(loc.talk) {
			t.Fatalf("%q is located at %+v", path, loc)
		}
		if talk, err := parseTalk(loc, content); err == nil {
			// An accepted talk can be encoded and stored.
			if _, err := proto.Marshal(talk); err != nil || strings.Contains(talk.String(), "\x00") {
				t.Fatalf("%q: %v", content, err)
			}
		}
		_, _, _ = parseCategory(content)
	})
}
