package transfers

import (
	"bytes"
	"encoding/json"
	"path"
	"strings"
	"time"

	mediapb "techtalks.example/proto/techtalks/media/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// layoutCategory and layoutTalk are files of the layout that imports take. Of what
// it has no word for, "talk" is the last part of the talk's name, and "recording"
// its file in the archive.
type layoutCategory struct {
	Title       string `json:"title"`
	Description string `json:"description,omitempty"`
}

type layoutTalk struct {
	Title       string        `json:"title"`
	Description string        `json:"description,omitempty"`
	Speakers    []string      `json:"speakers"`
	Language    string        `json:"language,omitempty"`
	Tags        []string      `json:"tags"`
	Recorded    string        `json:"recorded,omitempty"`
	Duration    int64         `json:"duration,omitempty"` // seconds
	Videos      []layoutVideo `json:"videos"`
	Talk        string        `json:"talk"`
	Recording   string        `json:"recording,omitempty"`
}

type layoutVideo struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

func lastPart(name string) string { return name[strings.LastIndex(name, "/")+1:] }

// categoryFile returns a channel's file.
func categoryFile(c *talkspb.Channel) (name string, content []byte, err error) {
	content, err = encode(layoutCategory{Title: c.Title, Description: c.Description})
	return lastPart(c.Name) + "/category.json", content, err
}

// talkFile returns a talk's file. recording is that of its recording in the
// archive, empty for none.
func talkFile(channel string, t *talkspb.Talk, recording string) (name string, content []byte, err error) {
	is := layoutTalk{
		Title: t.Title, Description: t.Description, Speakers: nonNil(t.Speakers), Language: t.Language, Tags: nonNil(t.Tags),
		Recorded: t.RecordedDate, Duration: int64(t.Duration.AsDuration() / time.Second), Videos: []layoutVideo{},
		Talk: lastPart(t.Name), Recording: recording,
	}
	if t.MediaUrl != "" {
		is.Videos = append(is.Videos, layoutVideo{"link", t.MediaUrl})
	}
	content, err = encode(is)
	return lastPart(channel) + "/videos/" + lastPart(t.Name) + ".json", content, err
}

// recordingFile returns where a recording's original lies in the archive.
func recordingFile(channel string, t *talkspb.Talk, original *mediapb.Recording_Rendition) string {
	ending := map[string]string{"video/mp4": ".mp4", "video/webm": ".webm"}[original.ContentType]
	return path.Join(lastPart(channel), "recordings", lastPart(t.Name)+ending)
}

func nonNil(all []string) []string { return append([]string{}, all...) }

// encode writes JSON for people: indented, with < and & as they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}
