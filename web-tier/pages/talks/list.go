// Package talks serves the pages that search, show, edit and withdraw talks.
package talks

import (
	"context"
	"net/http"
	"unicode/utf8"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logicclient"
)

// searchQuery is what the list is filtered by.
type searchQuery struct{ text, language, tag string }

func (q searchQuery) empty() bool { return q == searchQuery{} }

// List renders a page of the talks that match the search; without one, of all talks.
func List(v *ui.PageContext) error {
	values := v.Request.URL.Query()
	q := searchQuery{values.Get("q"), values.Get("language"), values.Get("tag")}
	var talks *talkspb.ListTalksResponse
	err := v.FetchAll(func(ctx context.Context) (err error) {
		talks, err = v.Site.Tier.Talks.ListTalks(ctx, &talkspb.ListTalksRequest{
			Query: q.text, Language: q.language, Tag: q.tag, PageToken: values.Get("page_token"),
		})
		return err
	})
	if err != nil {
		p := logicclient.Explain(err)
		for _, field := range []string{"query", "language", "tag"} {
			if violation := p.Fields[field]; violation != "" {
				// The search field keeps its text, to be corrected.
				return v.Render(http.StatusBadRequest, listPage(v, searchQuery{text: clip(q.text)}, &talkspb.ListTalksResponse{}, violation))
			}
		}
		return err
	}
	return v.Render(http.StatusOK, listPage(v, q, talks, ""))
}

// maxSearchLength is the limit of the search field, in characters.
const maxSearchLength = 200

// clip shortens s to the limit of the search field.
func clip(s string) string {
	if utf8.RuneCountInString(s) <= maxSearchLength {
		return s
	}
	return string([]rune(s)[:maxSearchLength])
}
