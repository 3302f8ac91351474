// Package studio serves the page on which accounts manage their channels and import catalogues.
package studio

import (
	"context"
	"net/http"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/proto/transport"
	"techtalks.example/web-tier/pages/ui"
)

// Show shows the account's channels and the forms to add more.
func Show(v *ui.PageContext) error {
	return show(v, http.StatusOK, ui.Fields{}, ui.Fields{})
}

// show shows the studio. channelForm and importForm hold submitted values and errors.
func show(v *ui.PageContext, status int, channelForm, importForm ui.Fields) error {
	var response *talkspb.ListOwnChannelsResponse
	if err := v.FetchAll(func(ctx context.Context) (err error) {
		response, err = v.Site.Tier.Channels.ListOwnChannels(ctx, &talkspb.ListOwnChannelsRequest{})
		return err
	}); err != nil {
		return err
	}
	if importForm.Values == nil {
		importForm = ui.NewFields(map[string]string{"request_id": transport.NewRequestID()})
	}
	v.Scripts = append(v.Scripts, "upload.js")
	return v.Render(status, page(v, response.Channels, channelForm, importForm))
}

// CreateChannel creates a channel.
func CreateChannel(v *ui.PageContext) error {
	err := v.ParseForm()
	if err == nil {
		err = ui.CheckDescription(v.Request.PostForm.Get("description"))
	}
	var response *talkspb.CreateChannelResponse
	if err == nil {
		response, err = v.Site.Tier.Channels.CreateChannel(v.Context(), &talkspb.CreateChannelRequest{
			ChannelId: v.Request.PostFormValue("slug"), Title: v.Request.PostFormValue("title"), Description: v.Request.PostFormValue("description"),
		})
	}
	if err != nil {
		if f, status, ok := v.WithErrors(v.Submitted("slug", "title", "description"), err, map[string]string{"channel_id": "slug"}); ok {
			return show(v, status, f, ui.Fields{})
		}
		return err
	}
	return v.Redirect(ui.Path(response.Channel.Name))
}
