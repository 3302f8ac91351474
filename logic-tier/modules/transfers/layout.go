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

// categoryJSON and talkJSON are the files of an exported archive, in the layout that
// imports accept. "talk" (the talk's slug) and "recording" (the path of its recording in
// the archive) are extensions of that layout.
type categoryJSON struct {
	Title       string `json:"title"`
	Description string `json:"description,omitempty"`
}

type talkJSON struct {
	Title       string      `json:"title"`
	Description string      `json:"description,omitempty"`
	Speakers    []string    `json:"speakers"`
	Language    string      `json:"language,omitempty"`
	Tags        []string    `json:"tags"`
	Recorded    string      `json:"recorded,omitempty"`
	Duration    int64       `json:"duration,omitempty"` // seconds
	Videos      []videoJSON `json:"videos"`
	Talk        string      `json:"talk"`
	Recording   string      `json:"recording,omitempty"`
}

type videoJSON struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

// lastPart returns the last segment of a resource name.
func lastPart(name string) string { return name[strings.LastIndex(name, "/")+1:] }

// categoryFile returns the path and content of a channel's category file.
func categoryFile(c *talkspb.Channel) (name string, content []byte, err error) {
	content, err = encodeJSON(categoryJSON{Title: c.Title, Description: c.Description})
	return lastPart(c.Name) + "/category.json", content, err
}

// talkFile returns the path and content of a talk's file. recording is the path of its
// recording in the archive, or empty.
func talkFile(channel string, t *talkspb.Talk, recording string) (name string, content []byte, err error) {
	file := talkJSON{
		Title: t.Title, Description: t.Description, Speakers: nonNil(t.Speakers), Language: t.Language, Tags: nonNil(t.Tags),
		Recorded: t.RecordedDate, Duration: int64(t.Duration.AsDuration() / time.Second), Videos: []videoJSON{},
		Talk: lastPart(t.Name), Recording: recording,
	}
	if t.MediaUrl != "" {
		file.Videos = append(file.Videos, videoJSON{"link", t.MediaUrl})
	}
	content, err = encodeJSON(file)
	return lastPart(channel) + "/videos/" + lastPart(t.Name) + ".json", content, err
}

// recordingFile returns the path of a recording's original in the archive.
func recordingFile(channel string, t *talkspb.Talk, original *mediapb.Recording_Rendition) string {
	extension := map[string]string{"video/mp4": ".mp4", "video/webm": ".webm"}[original.ContentType]
	return path.Join(lastPart(channel), "recordings", lastPart(t.Name)+extension)
}

// nonNil returns a copy that is never nil, because nil is encoded as null.
func nonNil(values []string) []string { return append([]string{}, values...) }

// encodeJSON returns readable JSON: indented, with < and & unescaped.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(v)
	return b.Bytes(), err
}
