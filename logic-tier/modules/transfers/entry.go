package transfers

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// Lengths of the last parts of names.
const (
	maxChannelSlug = 60
	maxTalkSlug    = 100
)

var (
	cleanSlug = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	unclean   = regexp.MustCompile(`[^a-z0-9]+`)
)

// slug makes a name part of a file's name. Where it must change it, it adds a
// part of the name's hash: two names never become one, and the same name always
// becomes the same.
func slug(name string, most int) string {
	if cleanSlug.MatchString(name) && len(name) <= most {
		return name
	}
	hash := sha256.Sum256([]byte(name))
	suffix := "-" + hex.EncodeToString(hash[:4])
	base := strings.Trim(unclean.ReplaceAllString(strings.ToLower(name), "-"), "-")
	if base == "" || base[0] < 'a' {
		base = strings.TrimSuffix("t-"+base, "-")
	}
	return strings.TrimSuffix(base[:min(len(base), most-len(suffix))], "-") + suffix
}

// entry is the part of pyvideo's talk files that we keep. Real files hold more,
// less, and other types than they should: only what is used is looked at.
type entry struct {
	Title       string          `json:"title"`
	Description string          `json:"description"`
	Summary     string          `json:"summary"`
	Speakers    []string        `json:"speakers"`
	Language    string          `json:"language"`
	Tags        []string        `json:"tags"`
	Recorded    string          `json:"recorded"`
	Duration    json.RawMessage `json:"duration"`
	// Talk is our own: the last part of the talk's name where it comes from.
	Talk   json.RawMessage `json:"talk"`
	Videos []struct {
		URL string `json:"url"`
	} `json:"videos"`
}

// decode reads JSON, and says about what is none where it stops being it.
func decode(content []byte, into any) error {
	if !utf8.Valid(content) {
		return errors.New("not UTF-8: save it as UTF-8")
	}
	err := json.Unmarshal(bytes.TrimPrefix(content, []byte("\ufeff")), into)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("not JSON: %w at byte %d", err, syntax.Offset)
	case errors.As(err, &kind):
		field := kind.Field
		if field == "" {
			field = "the file"
		}
		return fmt.Errorf("%s: JSON %s where there should be %s", field, kind.Value, inJSON[kind.Type.Kind()])
	}
	return err
}

// inJSON is what Go's kinds are in JSON (RFC 8259).
var inJSON = map[reflect.Kind]string{reflect.String: "a string", reflect.Slice: "an array", reflect.Struct: "an object"}

// maxChannelDescription bounds what is kept of a channel's; a longer one is none.
const maxChannelDescription = 2000

// parseCategory reads category.json and returns the channel's title and what it
// is about.
func parseCategory(content []byte) (title, description string, err error) {
	var category struct {
		Title       string          `json:"title"`
		Description json.RawMessage `json:"description"`
	}
	if err := decode(content, &category); err != nil {
		return "", "", err
	}
	title = line(category.Title)
	switch {
	case title == "":
		return "", "", errors.New(`no title: add "title", what the event is called`)
	case utf8.RuneCountInString(title) > 200:
		return "", "", errors.New("title: use at most 200 characters")
	}
	if json.Unmarshal(category.Description, &description) != nil || utf8.RuneCountInString(description) > maxChannelDescription {
		description = ""
	}
	return title, text(description), nil
}

// The contract's limits for a talk. A file can list 200,000 names; the talks
// module would check each before it refuses them.
const (
	maxSpeakers = 50
	maxTags     = 30
)

// parseTalk reads a talk's file.
func parseTalk(p place, content []byte) (*talkspb.Talk, error) {
	var e entry
	if err := decode(content, &e); err != nil {
		return nil, err
	}
	if named := name(e.Talk); named != "" {
		p.talk = named
	}
	talk := &talkspb.Talk{
		Name:     "channels/" + p.channel + "/talks/" + p.talk,
		Title:    line(e.Title),
		Speakers: lines(e.Speakers),
		Tags:     lines(e.Tags),
	}
	if talk.Title == "" {
		return nil, errors.New(`no title: add "title", what the talk is called`)
	}
	for i, tag := range talk.Tags {
		talk.Tags[i] = strings.ToLower(tag)
	}
	switch {
	case len(talk.Speakers) > maxSpeakers:
		return nil, fmt.Errorf("speakers: name at most %d speakers", maxSpeakers)
	case len(talk.Tags) > maxTags:
		return nil, fmt.Errorf("tags: use at most %d tags", maxTags)
	}
	if talk.Description = text(e.Description); talk.Description == "" {
		talk.Description = text(e.Summary)
	}
	if language := strings.ToLower(strings.TrimSpace(e.Language)); len(language) == 3 {
		talk.Language = language
	}
	var err error
	if talk.PublishTime, talk.RecordedDate, err = recorded(e.Recorded); err != nil {
		return nil, err
	}
	talk.Duration = length(e.Duration)
	for _, v := range e.Videos {
		url := strings.TrimSpace(v.URL)
		if talk.MediaUrl == "" && (strings.HasPrefix(url, "https://") || strings.HasPrefix(url, "http://")) {
			talk.MediaUrl = url
		}
	}
	if talk.MediaUrl == "" && len(e.Videos) > 0 {
		return nil, fmt.Errorf("videos: no link starts with https:// or http:// (the first is %.100q)", e.Videos[0].URL)
	}
	return talk, nil
}

// nameParts are the last parts of names that talks have.
var nameParts = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// name reads the name that an archive of ours gives a talk; what is none counts
// nothing: other catalogues may mean something else by it.
func name(value json.RawMessage) string {
	var named string
	if json.Unmarshal(value, &named) != nil || len(named) > maxTalkSlug || !nameParts.MatchString(named) {
		return ""
	}
	return named
}

// recorded reads the three ways in which catalogues write a day.
func recorded(value string) (*timestamppb.Timestamp, string, error) {
	value = strings.TrimSpace(value)
	if value == "" {
		return nil, "", nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04:05", time.RFC3339} {
		if t, err := time.Parse(layout, value); err == nil && t.Year() >= 1900 && t.Year() < 2200 {
			return timestamppb.New(t), t.Format(time.DateOnly), nil
		}
	}
	return nil, "", fmt.Errorf("recorded: %.40q is no day: write it as 2019-05-03", value)
}

// maxLength bounds a duration: a longer "talk" is a typing error.
const maxLength = 7 * 24 * 60 * 60

// length reads a duration in seconds; what is no sensible number is unknown.
func length(value json.RawMessage) *durationpb.Duration {
	var seconds float64
	if json.Unmarshal(value, &seconds) != nil || seconds < 1 || seconds > maxLength {
		return nil
	}
	return &durationpb.Duration{Seconds: int64(math.Round(seconds))}
}

// line returns text on one line: white space, control characters and the
// zero-width spaces that copying leaves behind become single spaces.
func line(s string) string {
	const zeroWidthSpace, byteOrderMark = '\u200b', '\ufeff'
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return unicode.In(r, unicode.White_Space, unicode.Cc) || r == zeroWidthSpace || r == byteOrderMark
	}), " ")
}

func lines(all []string) (kept []string) {
	for _, s := range all {
		if s = line(s); s != "" {
			kept = append(kept, s)
		}
	}
	return kept
}

// text returns what can be stored of a longer text.
func text(s string) string { return strings.TrimSpace(strings.ReplaceAll(s, "\x00", "")) }
