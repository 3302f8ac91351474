// Package studio is where people make channels to publish on.
package studio

import (
	"context"
	"net/http"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/proto/transport"
	"techtalks.example/web-tier/pages/ui"
)

// Show shows the account's channels.
func Show(v *ui.Visit) error {
	if !v.SignedIn() {
		return v.AskToSignIn()
	}
	return show(v, http.StatusOK, ui.Fields{}, ui.Fields{})
}

func show(v *ui.Visit, status int, channel, catalogue ui.Fields) error {
	var answer *talkspb.ListOwnChannelsResponse
	if err := v.Gather(func(ctx context.Context) (err error) {
		answer, err = v.Site.Tier.Channels.ListOwnChannels(ctx, &talkspb.ListOwnChannelsRequest{})
		return err
	}); err != nil {
		return err
	}
	if catalogue.Values == nil {
		catalogue = ui.Filled(map[string]string{"request_id": transport.NewRequestID()})
	}
	v.Scripts = append(v.Scripts, "upload.js")
	return v.Render(status, page(v, answer.Channels, channel, catalogue))
}

// CreateChannel makes a channel.
func CreateChannel(v *ui.Visit) error {
	if !v.SignedIn() {
		return v.Redirect("/sign-in?next=/studio")
	}
	err := v.Form()
	if err == nil {
		err = ui.CheckDescription(v.Request.PostForm.Get("description"))
	}
	var answer *talkspb.CreateChannelResponse
	if err == nil {
		answer, err = v.Site.Tier.Channels.CreateChannel(v.Context(), &talkspb.CreateChannelRequest{
			ChannelId: v.Request.PostFormValue("slug"), Title: v.Request.PostFormValue("title"), Description: v.Request.PostFormValue("description"),
		})
	}
	if err != nil {
		if f, status, again := v.Refused(v.Typed("slug", "title", "description"), err, map[string]string{"channel_id": "slug"}); again {
			return show(v, status, f, ui.Fields{})
		}
		return err
	}
	return v.Redirect(ui.Path(answer.Channel.Name))
}
