// Package talks is how talks are found, read, edited and withdrawn.
package talks

import (
	"context"
	"net/http"
	"unicode/utf8"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logicclient"
)

// question is what the page was asked for.
type question struct{ query, language, tag string }

func (q question) empty() bool { return q == question{} }

// List shows talks: all, or those that are searched for.
func List(v *ui.PageContext) error {
	values := v.Request.URL.Query()
	q := question{values.Get("q"), values.Get("language"), values.Get("tag")}
	var talks *talkspb.ListTalksResponse
	err := v.FetchAll(func(ctx context.Context) (err error) {
		talks, err = v.Site.Tier.Talks.ListTalks(ctx, &talkspb.ListTalksRequest{
			Query: q.query, Language: q.language, Tag: q.tag, PageToken: values.Get("page_token"),
		})
		return err
	})
	if err != nil {
		p := logicclient.Explain(err)
		for _, field := range []string{"query", "language", "tag"} {
			if wrong := p.Fields[field]; wrong != "" {
				// What was searched for is still there to be mended.
				return v.Render(http.StatusBadRequest, listPage(v, question{query: clip(q.query)}, &talkspb.ListTalksResponse{}, wrong))
			}
		}
		return err
	}
	return v.Render(http.StatusOK, listPage(v, q, talks, ""))
}

// clip keeps what a search field takes.
func clip(s string) string {
	if utf8.RuneCountInString(s) <= 200 {
		return s
	}
	return string([]rune(s)[:200])
}
