// Package tiers shows how a page comes through the three tiers.
package tiers

import (
	"context"
	"net/http"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/web-tier/pages/ui"
)

// Get shows the tiers, and what they took for one small question.
func Get(v *ui.Visit) error {
	if err := v.Gather(func(ctx context.Context) error {
		_, err := v.Site.Tier.Talks.ListTalks(ctx, &talkspb.ListTalksRequest{PageSize: 1})
		return err
	}); err != nil {
		return err
	}
	return v.Render(http.StatusOK, page(v))
}
