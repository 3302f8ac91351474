package talks

import (
	"context"
	"maps"
	"slices"
	"strings"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/pagetoken"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

type channelService struct {
	talkspb.UnimplementedChannelsServer
	module *Module
}

type talkService struct {
	talkspb.UnimplementedTalksServer
	module *Module
}

func (s channelService) GetChannel(ctx context.Context, r *talkspb.GetChannelRequest) (*talkspb.GetChannelResponse, error) {
	slug, err := parseChannel("name", r.Name)
	if err != nil {
		return nil, err
	}
	c, err := s.module.store.channel(ctx, slug)
	if err != nil {
		return nil, err
	}
	return &talkspb.GetChannelResponse{Channel: c.message(caller.From(ctx).Person)}, nil
}

func (s channelService) ListChannels(ctx context.Context, r *talkspb.ListChannelsRequest) (*talkspb.ListChannelsResponse, error) {
	question := pagetoken.QueryFingerprint("channels")
	from, err := pagetoken.Decode[titleEdge](r.PageToken, question)
	if err != nil {
		return nil, err
	}
	size := pagetoken.Size(r.PageSize, talksPage, maxPage)
	read, err := s.module.store.channels(ctx, from, size+1)
	if err != nil {
		return nil, err
	}
	response := &talkspb.ListChannelsResponse{}
	read, response.NextPageToken, response.PreviousPageToken = pagetoken.Cut(read, size, from, question, titled.edge)
	for _, c := range read {
		response.Channels = append(response.Channels, c.message(caller.From(ctx).Person))
	}
	return response, nil
}

func (s channelService) ListOwnChannels(ctx context.Context, _ *talkspb.ListOwnChannelsRequest) (*talkspb.ListOwnChannelsResponse, error) {
	person, _ := caller.PersonFrom(ctx)
	own, err := s.module.store.ownChannels(ctx, person.ID, maxChannels)
	if err != nil {
		return nil, err
	}
	response := &talkspb.ListOwnChannelsResponse{}
	for _, c := range own {
		response.Channels = append(response.Channels, c.message(&person))
	}
	return response, nil
}

func (s channelService) CreateChannel(ctx context.Context, r *talkspb.CreateChannelRequest) (*talkspb.CreateChannelResponse, error) {
	person, _ := caller.PersonFrom(ctx)
	c, err := s.module.createChannel(ctx, person, r.ChannelId, r.Title, r.Description)
	if err != nil {
		return nil, err
	}
	return &talkspb.CreateChannelResponse{Channel: c.message(&person)}, nil
}

func (s talkService) GetTalk(ctx context.Context, r *talkspb.GetTalkRequest) (*talkspb.GetTalkResponse, error) {
	channel, slug, err := parseTalk("name", r.Name)
	if err != nil {
		return nil, err
	}
	t, err := s.module.store.talk(ctx, channel, slug)
	if err != nil {
		return nil, err
	}
	return &talkspb.GetTalkResponse{Talk: t.whole(caller.From(ctx).Person)}, nil
}

func (s talkService) ListTalks(ctx context.Context, r *talkspb.ListTalksRequest) (*talkspb.ListTalksResponse, error) {
	f := filter{query: r.Query, language: r.Language, tag: r.Tag}
	if r.Parent != "" {
		var err error
		if f.channel, err = parseChannel("parent", r.Parent); err != nil {
			return nil, err
		}
	}
	talks, next, previous, of, err := s.module.list(ctx, f, r.PageToken, r.PageSize)
	if err != nil {
		return nil, err
	}
	response := &talkspb.ListTalksResponse{Talks: make([]*talkspb.Talk, len(talks)), NextPageToken: next, PreviousPageToken: previous}
	for i, t := range talks {
		response.Talks[i] = t.message()
	}
	if of != nil {
		response.Channel = of.message(caller.From(ctx).Person)
		return response, nil
	}
	response.Languages, err = s.module.languages.get(ctx, s.module.store.languages)
	return response, err
}

func (s talkService) CreateTalk(ctx context.Context, r *talkspb.CreateTalkRequest) (*talkspb.CreateTalkResponse, error) {
	channel, err := parseChannel("parent", r.Parent)
	if err != nil {
		return nil, err
	}
	person, _ := caller.PersonFrom(ctx)
	t, err := s.module.publish(ctx, person, channel, strings.ToLower(r.RequestId), fromMessage(r.Talk))
	if err != nil {
		return nil, err
	}
	return &talkspb.CreateTalkResponse{Talk: t.whole(&person)}, nil
}

func (s talkService) PublishRecording(ctx context.Context, r *talkspb.PublishRecordingRequest) (*longrunningpb.Operation, error) {
	channel, err := parseChannel("parent", r.Parent)
	if err != nil {
		return nil, err
	}
	person, _ := caller.PersonFrom(ctx)
	return s.module.publishRecording(ctx, person, channel, strings.ToLower(r.RequestId), r.Upload, fromMessage(r.Talk))
}

func (s talkService) GetDraft(ctx context.Context, r *talkspb.GetDraftRequest) (*talkspb.GetDraftResponse, error) {
	person, _ := caller.PersonFrom(ctx)
	return s.module.sentDraft(ctx, person, r.Operation)
}

// editable is how each field that update_mask may name is changed.
var editable = map[string]func(is, to *talk){
	"title":         func(is, to *talk) { is.title = to.title },
	"speakers":      func(is, to *talk) { is.speakers = to.speakers },
	"language":      func(is, to *talk) { is.language = to.language },
	"tags":          func(is, to *talk) { is.tags = to.tags },
	"description":   func(is, to *talk) { is.description = to.description },
	"media_url":     func(is, to *talk) { is.mediaURL = to.mediaURL },
	"duration":      func(is, to *talk) { is.duration = to.duration },
	"recorded_date": func(is, to *talk) { is.recorded = to.recorded },
}

func (s talkService) UpdateTalk(ctx context.Context, r *talkspb.UpdateTalkRequest) (*talkspb.UpdateTalkResponse, error) {
	channel, slug, err := parseTalk("talk.name", r.Talk.Name)
	if err != nil {
		return nil, err
	}
	fields := r.UpdateMask.GetPaths()
	for _, field := range fields {
		if editable[field] == nil {
			return nil, apperror.InvalidField("FIELDS_INVALID", "update_mask", "name only fields that can be changed: "+
				strings.Join(slices.Sorted(maps.Keys(editable)), ", "))
		}
	}
	if len(fields) == 0 {
		fields = slices.Collect(maps.Keys(editable))
	}
	person, _ := caller.PersonFrom(ctx)
	to := fromMessage(r.Talk)
	t, err := s.module.change(ctx, person, channel, slug, func(is *talk) {
		for _, field := range fields {
			editable[field](is, &to)
		}
	})
	if err != nil {
		return nil, err
	}
	return &talkspb.UpdateTalkResponse{Talk: t.whole(&person)}, nil
}

func (s talkService) WithdrawTalk(ctx context.Context, r *talkspb.WithdrawTalkRequest) (*talkspb.WithdrawTalkResponse, error) {
	channel, slug, err := parseTalk("name", r.Name)
	if err != nil {
		return nil, err
	}
	person, _ := caller.PersonFrom(ctx)
	return &talkspb.WithdrawTalkResponse{}, s.module.withdraw(ctx, person, channel, slug)
}

func (s talkService) BatchImportTalks(ctx context.Context, r *talkspb.BatchImportTalksRequest) (*talkspb.BatchImportTalksResponse, error) {
	channels, talks, err := s.module.importBatch(ctx, r)
	if err != nil {
		return nil, err
	}
	return &talkspb.BatchImportTalksResponse{ChannelsCreated: channels, TalksCreated: talks}, nil
}

func (s channelService) ListChannelsOfAccount(ctx context.Context, r *talkspb.ListChannelsOfAccountRequest) (*talkspb.ListChannelsOfAccountResponse, error) {
	own, err := s.module.store.channelsOf(ctx, r.AccountId)
	if err != nil {
		return nil, err
	}
	response := &talkspb.ListChannelsOfAccountResponse{}
	for _, c := range own {
		response.Channels = append(response.Channels, c.message(nil))
	}
	return response, nil
}

func (s talkService) ListWholeTalks(ctx context.Context, r *talkspb.ListWholeTalksRequest) (*talkspb.ListWholeTalksResponse, error) {
	slug, err := parseChannel("parent", r.Parent)
	if err != nil {
		return nil, err
	}
	question := pagetoken.QueryFingerprint("whole talks", slug)
	from, err := pagetoken.Decode[slugEdge](r.PageToken, question)
	if err != nil {
		return nil, err
	}
	of, err := s.module.store.channel(ctx, slug)
	if err != nil {
		return nil, err
	}
	size := pagetoken.Size(r.PageSize, talksPage, maxPage)
	read, err := s.module.store.wholeTalks(ctx, of.id, from, size+1)
	if err != nil {
		return nil, err
	}
	response := &talkspb.ListWholeTalksResponse{}
	read, response.NextPageToken, _ = pagetoken.Cut(read, size, from, question, talk.slugEdge)
	for _, t := range read {
		response.Talks = append(response.Talks, t.message())
	}
	return response, nil
}

func (s talkService) ListPublications(ctx context.Context, r *talkspb.ListPublicationsRequest) (*talkspb.ListPublicationsResponse, error) {
	read, err := s.module.store.publications(ctx, r.ChannelId, r.AfterNumber, pagetoken.Size(r.PageSize, talksPage, maxPage))
	if err != nil {
		return nil, err
	}
	response := &talkspb.ListPublicationsResponse{}
	for _, t := range read {
		response.Publications = append(response.Publications, t.publication())
	}
	return response, nil
}
