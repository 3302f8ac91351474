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
	cursor, err := pagetoken.Decode[titleKey](r.PageToken, question)
	if err != nil {
		return nil, err
	}
	size := pagetoken.Size(r.PageSize, talksPage, maxPage)
	rows, err := s.module.store.channels(ctx, cursor, size+1)
	if err != nil {
		return nil, err
	}
	response := &talkspb.ListChannelsResponse{}
	rows, response.NextPageToken, response.PreviousPageToken = pagetoken.Cut(rows, size, cursor, question, listedChannel.sortKey)
	for _, c := range rows {
		response.Channels = append(response.Channels, c.message(caller.From(ctx).Person))
	}
	return response, nil
}

func (s channelService) ListOwnChannels(ctx context.Context, _ *talkspb.ListOwnChannelsRequest) (*talkspb.ListOwnChannelsResponse, error) {
	person, _ := caller.PersonFrom(ctx)
	channels, err := s.module.store.latestChannelsOf(ctx, person.ID, maxChannels)
	if err != nil {
		return nil, err
	}
	response := &talkspb.ListOwnChannelsResponse{}
	for _, c := range channels {
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
	return &talkspb.GetTalkResponse{Talk: t.messageFor(caller.From(ctx).Person)}, nil
}

func (s talkService) ListTalks(ctx context.Context, r *talkspb.ListTalksRequest) (*talkspb.ListTalksResponse, error) {
	f := filter{query: r.Query, language: r.Language, tag: r.Tag}
	if r.Parent != "" {
		var err error
		if f.channel, err = parseChannel("parent", r.Parent); err != nil {
			return nil, err
		}
	}
	talks, next, previous, c, err := s.module.list(ctx, f, r.PageToken, r.PageSize)
	if err != nil {
		return nil, err
	}
	response := &talkspb.ListTalksResponse{Talks: make([]*talkspb.Talk, len(talks)), NextPageToken: next, PreviousPageToken: previous}
	for i, t := range talks {
		response.Talks[i] = t.message()
	}
	if c != nil {
		response.Channel = c.message(caller.From(ctx).Person)
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
	return &talkspb.CreateTalkResponse{Talk: t.messageFor(&person)}, nil
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
	return s.module.draftOf(ctx, person, r.Operation)
}

// fieldSetters has a setter for each field that update_mask can name.
var fieldSetters = map[string]func(dst, src *talk){
	"title":         func(dst, src *talk) { dst.title = src.title },
	"speakers":      func(dst, src *talk) { dst.speakers = src.speakers },
	"language":      func(dst, src *talk) { dst.language = src.language },
	"tags":          func(dst, src *talk) { dst.tags = src.tags },
	"description":   func(dst, src *talk) { dst.description = src.description },
	"media_url":     func(dst, src *talk) { dst.mediaURL = src.mediaURL },
	"duration":      func(dst, src *talk) { dst.duration = src.duration },
	"recorded_date": func(dst, src *talk) { dst.recorded = src.recorded },
}

func (s talkService) UpdateTalk(ctx context.Context, r *talkspb.UpdateTalkRequest) (*talkspb.UpdateTalkResponse, error) {
	channel, slug, err := parseTalk("talk.name", r.Talk.Name)
	if err != nil {
		return nil, err
	}
	fields := r.UpdateMask.GetPaths()
	for _, field := range fields {
		if fieldSetters[field] == nil {
			return nil, apperror.InvalidField("FIELDS_INVALID", "update_mask", "name only fields that can be updated: "+
				strings.Join(slices.Sorted(maps.Keys(fieldSetters)), ", "))
		}
	}
	if len(fields) == 0 {
		fields = slices.Collect(maps.Keys(fieldSetters))
	}
	person, _ := caller.PersonFrom(ctx)
	src := fromMessage(r.Talk)
	t, err := s.module.update(ctx, person, channel, slug, func(dst *talk) {
		for _, field := range fields {
			fieldSetters[field](dst, &src)
		}
	})
	if err != nil {
		return nil, err
	}
	return &talkspb.UpdateTalkResponse{Talk: t.messageFor(&person)}, nil
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
	channels, err := s.module.store.channelsOf(ctx, r.AccountId)
	if err != nil {
		return nil, err
	}
	response := &talkspb.ListChannelsOfAccountResponse{}
	for _, c := range channels {
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
	cursor, err := pagetoken.Decode[slugKey](r.PageToken, question)
	if err != nil {
		return nil, err
	}
	c, err := s.module.store.channel(ctx, slug)
	if err != nil {
		return nil, err
	}
	size := pagetoken.Size(r.PageSize, talksPage, maxPage)
	rows, err := s.module.store.talksBySlug(ctx, c.id, cursor, size+1)
	if err != nil {
		return nil, err
	}
	response := &talkspb.ListWholeTalksResponse{}
	rows, response.NextPageToken, _ = pagetoken.Cut(rows, size, cursor, question, talk.slugKey)
	for _, t := range rows {
		response.Talks = append(response.Talks, t.message())
	}
	return response, nil
}

func (s talkService) ListPublications(ctx context.Context, r *talkspb.ListPublicationsRequest) (*talkspb.ListPublicationsResponse, error) {
	rows, err := s.module.store.publications(ctx, r.ChannelId, r.AfterNumber, pagetoken.Size(r.PageSize, talksPage, maxPage))
	if err != nil {
		return nil, err
	}
	response := &talkspb.ListPublicationsResponse{}
	for _, t := range rows {
		response.Publications = append(response.Publications, t.publication())
	}
	return response, nil
}
