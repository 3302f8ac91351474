package ui

import (
	"net/http"
	"strings"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/web-tier/pages/markdown"
	"techtalks.example/web-tier/platform/logicclient"
)

// TalkFieldNames are the fields of a talk's form.
var TalkFieldNames = []string{"title", "speakers", "language", "tags", "description", "media_url", "request_id"}

// PublishFieldNames are the fields of the form by which a talk is published.
var PublishFieldNames = append([]string{"upload"}, TalkFieldNames...)

// TypedTalk returns the talk that a form describes.
func TypedTalk(v *Visit) *talkspb.Talk {
	return &talkspb.Talk{
		Title:       v.Request.PostForm.Get("title"),
		Speakers:    list(v.Request.PostForm.Get("speakers")),
		Language:    strings.ToLower(strings.TrimSpace(v.Request.PostForm.Get("language"))),
		Tags:        list(v.Request.PostForm.Get("tags")),
		Description: strings.ReplaceAll(v.Request.PostForm.Get("description"), "\r\n", "\n"),
		MediaUrl:    strings.TrimSpace(v.Request.PostForm.Get("media_url")),
	}
}

// CheckDescription returns a problem with the field "description" if text exceeds
// the limits within which pages show Markdown. Forms refuse it then: the pages
// would show it as it was typed.
func CheckDescription(text string) error {
	if markdown.Accepts(text) {
		return nil
	}
	const message = "This is too complex to show as Markdown. Use smaller tables, fewer levels of lists and quotations, and fewer links."
	return &logicclient.Problem{
		Status: http.StatusBadRequest, Reason: "FIELDS_INVALID", Title: "That does not work", Message: message,
		Fields: map[string]string{"description": message},
	}
}

// TalkFields returns the form of a talk as it is.
func TalkFields(t *talkspb.Talk) Fields {
	return Fields{Values: map[string]string{
		"title": t.Title, "speakers": strings.Join(t.Speakers, ", "), "language": t.Language,
		"tags": strings.Join(t.Tags, ", "), "description": t.Description, "media_url": t.MediaUrl,
	}, Wrong: map[string]string{}}
}

// list reads what people separate by commas or lines.
func list(s string) (items []string) {
	for item := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' }) {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
