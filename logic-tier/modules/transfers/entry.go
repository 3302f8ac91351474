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

// Maximum lengths of slugs, the last segments of resource names.
const (
	maxChannelSlug = 60
	maxTalkSlug    = 100
)

var (
	slugPattern  = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	nonSlugChars = regexp.MustCompile(`[^a-z0-9]+`)
)

// slug derives a slug of up to maxLength bytes from a file or directory name. If the
// name is not a slug already, it appends part of the name's hash: the result is
// deterministic, and different names get different slugs.
func slug(name string, maxLength int) string {
	if slugPattern.MatchString(name) && len(name) <= maxLength {
		return name
	}
	hash := sha256.Sum256([]byte(name))
	suffix := "-" + hex.EncodeToString(hash[:4])
	base := strings.Trim(nonSlugChars.ReplaceAllString(strings.ToLower(name), "-"), "-")
	if base == "" || base[0] < 'a' {
		base = strings.TrimSuffix("t-"+base, "-")
	}
	return strings.TrimSuffix(base[:min(len(base), maxLength-len(suffix))], "-") + suffix
}

// talkFields holds the fields that an import uses of pyvideo's talk files. Real files
// have additional and missing fields and wrong types, so other fields are ignored.
type talkFields struct {
	Title       string          `json:"title"`
	Description string          `json:"description"`
	Summary     string          `json:"summary"`
	Speakers    []string        `json:"speakers"`
	Language    string          `json:"language"`
	Tags        []string        `json:"tags"`
	Recorded    string          `json:"recorded"`
	Duration    json.RawMessage `json:"duration"`
	// Talk is the talk's slug, in archives exported by TechTalks.
	Talk   json.RawMessage `json:"talk"`
	Videos []struct {
		URL string `json:"url"`
	} `json:"videos"`
}

// decodeJSON decodes content into dst. Its errors are shown to the uploader, so they
// name the field and the position.
func decodeJSON(content []byte, dst any) error {
	if !utf8.Valid(content) {
		return errors.New("not UTF-8; save the file as UTF-8")
	}
	err := json.Unmarshal(bytes.TrimPrefix(content, []byte("\ufeff")), dst)
	var syntaxErr *json.SyntaxError
	var typeErr *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntaxErr):
		return fmt.Errorf("not JSON: %w at byte %d", err, syntaxErr.Offset)
	case errors.As(err, &typeErr):
		field := typeErr.Field
		if field == "" {
			field = "the file"
		}
		return fmt.Errorf("%s: must be %s, not a JSON %s", field, jsonTypeNames[typeErr.Type.Kind()], typeErr.Value)
	}
	return err
}

// jsonTypeNames maps Go kinds to JSON types (RFC 8259).
var jsonTypeNames = map[reflect.Kind]string{reflect.String: "a string", reflect.Slice: "an array", reflect.Struct: "an object"}

// maxChannelDescription bounds a channel's description, in characters. A longer one is
// ignored.
const maxChannelDescription = 2000

// parseCategory parses category.json and returns the channel's title and description.
func parseCategory(content []byte) (title, description string, err error) {
	var category struct {
		Title       string          `json:"title"`
		Description json.RawMessage `json:"description"`
	}
	if err := decodeJSON(content, &category); err != nil {
		return "", "", err
	}
	title = singleLine(category.Title)
	switch {
	case title == "":
		return "", "", errors.New(`no title; add "title"`)
	case utf8.RuneCountInString(title) > 200:
		return "", "", errors.New("title: use at most 200 characters")
	}
	if json.Unmarshal(category.Description, &description) != nil || utf8.RuneCountInString(description) > maxChannelDescription {
		description = ""
	}
	return title, cleanText(description), nil
}

// The API's limits for a talk. They are checked here because a file can list 200,000
// names, each of which the talks module would validate.
const (
	maxSpeakers = 50
	maxTags     = 30
)

// parseTalk parses a talk's file.
func parseTalk(loc location, content []byte) (*talkspb.Talk, error) {
	var fields talkFields
	if err := decodeJSON(content, &fields); err != nil {
		return nil, err
	}
	if exported := parseTalkSlug(fields.Talk); exported != "" {
		loc.talk = exported
	}
	talk := &talkspb.Talk{
		Name:     "channels/" + loc.channel + "/talks/" + loc.talk,
		Title:    singleLine(fields.Title),
		Speakers: singleLines(fields.Speakers),
		Tags:     singleLines(fields.Tags),
	}
	if talk.Title == "" {
		return nil, errors.New(`no title; add "title"`)
	}
	for i, tag := range talk.Tags {
		talk.Tags[i] = strings.ToLower(tag)
	}
	switch {
	case len(talk.Speakers) > maxSpeakers:
		return nil, fmt.Errorf("speakers: list at most %d speakers", maxSpeakers)
	case len(talk.Tags) > maxTags:
		return nil, fmt.Errorf("tags: use at most %d tags", maxTags)
	}
	if talk.Description = cleanText(fields.Description); talk.Description == "" {
		talk.Description = cleanText(fields.Summary)
	}
	if language := strings.ToLower(strings.TrimSpace(fields.Language)); len(language) == 3 {
		talk.Language = language
	}
	var err error
	if talk.PublishTime, talk.RecordedDate, err = parseDate(fields.Recorded); err != nil {
		return nil, err
	}
	talk.Duration = parseDuration(fields.Duration)
	for _, v := range fields.Videos {
		url := strings.TrimSpace(v.URL)
		if talk.MediaUrl == "" && (strings.HasPrefix(url, "https://") || strings.HasPrefix(url, "http://")) {
			talk.MediaUrl = url
		}
	}
	if talk.MediaUrl == "" && len(fields.Videos) > 0 {
		return nil, fmt.Errorf("videos: no link starts with https:// or http:// (the first is %.100q)", fields.Videos[0].URL)
	}
	return talk, nil
}

// talkSlugPattern matches the slugs of talks.
var talkSlugPattern = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// parseTalkSlug returns the slug in a talk's file, or "" if value is not one: other
// catalogues may use the field for something else.
func parseTalkSlug(value json.RawMessage) string {
	var s string
	if json.Unmarshal(value, &s) != nil || len(s) > maxTalkSlug || !talkSlugPattern.MatchString(s) {
		return ""
	}
	return s
}

// parseDate parses the three date formats that catalogues use.
func parseDate(value string) (*timestamppb.Timestamp, string, error) {
	value = strings.TrimSpace(value)
	if value == "" {
		return nil, "", nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04:05", time.RFC3339} {
		if t, err := time.Parse(layout, value); err == nil && t.Year() >= 1900 && t.Year() < 2200 {
			return timestamppb.New(t), t.Format(time.DateOnly), nil
		}
	}
	return nil, "", fmt.Errorf("recorded: %.40q is not a date; write it as 2019-05-03", value)
}

// maxDuration bounds a talk's duration, in seconds. A longer one is a typing error.
const maxDuration = 7 * 24 * 60 * 60

// parseDuration parses a duration in seconds. It returns nil, an unknown duration, if
// value is not a plausible number.
func parseDuration(value json.RawMessage) *durationpb.Duration {
	var seconds float64
	if json.Unmarshal(value, &seconds) != nil || seconds < 1 || seconds > maxDuration {
		return nil
	}
	return &durationpb.Duration{Seconds: int64(math.Round(seconds))}
}

// singleLine replaces runs of white space, control characters and the zero-width spaces
// that copying leaves behind with single spaces.
func singleLine(s string) string {
	const zeroWidthSpace, byteOrderMark = '\u200b', '\ufeff'
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return unicode.In(r, unicode.White_Space, unicode.Cc) || r == zeroWidthSpace || r == byteOrderMark
	}), " ")
}

// singleLines applies singleLine to each string and drops empty results.
func singleLines(values []string) (kept []string) {
	for _, s := range values {
		if s = singleLine(s); s != "" {
			kept = append(kept, s)
		}
	}
	return kept
}

// cleanText trims a multi-line text and removes NUL, which Postgres cannot store.
func cleanText(s string) string { return strings.TrimSpace(strings.ReplaceAll(s, "\x00", "")) }
