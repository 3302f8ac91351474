package ui

import (
	"net/http"
	"strings"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/web-tier/pages/markdown"
	"techtalks.example/web-tier/platform/logicclient"
)

// TalkFieldNames lists the fields of the form that edits a talk.
var TalkFieldNames = []string{"title", "speakers", "language", "tags", "description", "media_url", "request_id"}

// PublishFieldNames lists the fields of the form that publishes a talk.
var PublishFieldNames = append([]string{"upload"}, TalkFieldNames...)

// SubmittedTalk returns the talk described by the submitted form. Call it after ParseForm.
func SubmittedTalk(v *PageContext) *talkspb.Talk {
	return &talkspb.Talk{
		Title:       v.Request.PostForm.Get("title"),
		Speakers:    splitList(v.Request.PostForm.Get("speakers")),
		Language:    strings.ToLower(strings.TrimSpace(v.Request.PostForm.Get("language"))),
		Tags:        splitList(v.Request.PostForm.Get("tags")),
		Description: strings.ReplaceAll(v.Request.PostForm.Get("description"), "\r\n", "\n"),
		MediaUrl:    strings.TrimSpace(v.Request.PostForm.Get("media_url")),
	}
}

// CheckDescription returns an error for the field "description" if text exceeds the limits
// of the Markdown renderer, which would show the text unformatted.
func CheckDescription(text string) error {
	if markdown.Accepts(text) {
		return nil
	}
	const message = "The description is too complex to format. Use smaller tables, less nesting of lists and quotes, and fewer links."
	return &logicclient.Problem{
		Status: http.StatusBadRequest, Reason: "FIELDS_INVALID", Title: "Invalid description", Message: message,
		Fields: map[string]string{"description": message},
	}
}

// TalkFields returns the form to edit t, filled with its current values.
func TalkFields(t *talkspb.Talk) Fields {
	return Fields{Values: map[string]string{
		"title": t.Title, "speakers": strings.Join(t.Speakers, ", "), "language": t.Language,
		"tags": strings.Join(t.Tags, ", "), "description": t.Description, "media_url": t.MediaUrl,
	}, Errors: map[string]string{}}
}

// splitList splits s at commas and line breaks, and drops empty items.
func splitList(s string) (items []string) {
	for item := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' }) {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
