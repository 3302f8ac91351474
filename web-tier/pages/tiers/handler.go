// Package tiers serves the page that explains the three tiers.
package tiers

import (
	"context"
	"net/http"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/web-tier/pages/ui"
)

// Get shows the tiers. It makes one small call, so that the footer shows the time of each tier.
func Get(v *ui.PageContext) error {
	if err := v.FetchAll(func(ctx context.Context) error {
		_, err := v.Site.Tier.Talks.ListTalks(ctx, &talkspb.ListTalksRequest{PageSize: 1})
		return err
	}); err != nil {
		return err
	}
	return v.Render(http.StatusOK, page(v))
}
