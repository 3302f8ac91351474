package channels

import (
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logicclient"
)

// Publish publishes a talk on the channel. Without a recording the talk is published
// before the response; with one, the response is the handle of an operation.
func Publish(v *ui.PageContext) error {
	err := v.ParseForm()
	upload := ""
	if err == nil {
		upload, err = v.Upload()
	}
	if err == nil {
		err = ui.CheckDescription(ui.SubmittedTalk(v).Description)
	}
	if err == nil && upload != "" {
		err = publishRecording(v, upload)
	} else if err == nil {
		err = publish(v)
	}
	if err == nil {
		return nil
	}
	if form, status, ok := v.WithErrors(v.Submitted(ui.PublishFieldNames...), err, nil); ok {
		if reason := logicclient.Explain(err).Reason; reason == "UPLOAD_NOT_FOUND" || reason == "UPLOAD_INCOMPLETE" {
			form.Values["upload"] = ""
		}
		return show(v, status, form)
	}
	return err
}

func publish(v *ui.PageContext) error {
	answer, err := v.Site.Tier.Talks.CreateTalk(v.Context(), &talkspb.CreateTalkRequest{
		Parent: channelName(v), Talk: ui.SubmittedTalk(v), RequestId: v.Request.PostForm.Get("request_id"),
	})
	if err != nil {
		return err
	}
	return v.Redirect(ui.Path(answer.Talk.Name))
}

func publishRecording(v *ui.PageContext, upload string) error {
	op, err := v.Site.Tier.Talks.PublishRecording(v.Context(), &talkspb.PublishRecordingRequest{
		Parent: channelName(v), Talk: ui.SubmittedTalk(v), Upload: upload, RequestId: v.Request.PostForm.Get("request_id"),
	})
	if err != nil {
		return err
	}
	return v.RespondAccepted(op)
}

// Export starts an operation that archives the channel.
func Export(v *ui.PageContext) error {
	if err := v.ParseForm(); err != nil {
		return err
	}
	op, err := v.Site.Tier.Transfers.ExportArchive(v.Context(), &transferspb.ExportArchiveRequest{
		Parent: channelName(v), RequestId: v.Request.PostForm.Get("request_id"),
	})
	if err != nil {
		return err
	}
	return v.RespondAccepted(op)
}
