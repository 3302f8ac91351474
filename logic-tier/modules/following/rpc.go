package following

import (
	"context"
	"math"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/pagetoken"
	followingpb "techtalks.example/proto/techtalks/following/v1"
)

type service struct {
	followingpb.UnimplementedFollowingServer
	module *Module
}

// Page sizes of the contract.
const (
	followsPage    = 50
	maxFollowsPage = 200
	followersPage  = 1000
	maxFollowers   = 10_000
)

func (s service) Follow(ctx context.Context, r *followingpb.FollowRequest) (*followingpb.FollowResponse, error) {
	person, _ := caller.PersonFrom(ctx)
	return &followingpb.FollowResponse{}, s.module.follow(ctx, person.ID, r.Channel)
}

func (s service) Unfollow(ctx context.Context, r *followingpb.UnfollowRequest) (*followingpb.UnfollowResponse, error) {
	person, _ := caller.PersonFrom(ctx)
	return &followingpb.UnfollowResponse{}, s.module.unfollow(ctx, person.ID, r.Channel)
}

func (s service) GetFollow(ctx context.Context, r *followingpb.GetFollowRequest) (*followingpb.GetFollowResponse, error) {
	person, _ := caller.PersonFrom(ctx)
	follows, err := s.module.follows(ctx, person.ID, r.Channel)
	return &followingpb.GetFollowResponse{Following: follows}, err
}

// followKey is a follow's sort key: by time, then by channel, both descending.
type followKey struct {
	Since   time.Time `json:"t"`
	Channel int64     `json:"c"`
}

func (s service) ListFollows(ctx context.Context, r *followingpb.ListFollowsRequest) (*followingpb.ListFollowsResponse, error) {
	person, _ := caller.PersonFrom(ctx)
	question := pagetoken.QueryFingerprint("follows", strconv.FormatInt(person.ID, 10))
	cursor, err := pagetoken.Decode[followKey](r.PageToken, question)
	if err != nil {
		return nil, err
	}
	start := followKey{time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), math.MaxInt64}
	if cursor != nil {
		start = cursor.Key
	}
	size := pagetoken.Size(r.PageSize, followsPage, maxFollowsPage)
	rows, err := s.module.store.follows(ctx, person.ID, start.Since, start.Channel, size+1)
	if err != nil {
		return nil, err
	}
	response := &followingpb.ListFollowsResponse{}
	rows, response.NextPageToken, _ = pagetoken.Cut(rows, size, cursor, question, func(f followedChannel) followKey { return followKey{f.since, f.channelID} })
	for _, f := range rows {
		response.Channels = append(response.Channels, &followingpb.FollowedChannel{
			Channel: f.channel, ChannelTitle: f.title, FollowTime: timestamppb.New(f.since),
		})
	}
	return response, nil
}

func (s service) ListFollowers(ctx context.Context, r *followingpb.ListFollowersRequest) (*followingpb.ListFollowersResponse, error) {
	followers, err := s.module.store.followers(ctx, r.ChannelId, r.AfterAccountId, pagetoken.Size(r.PageSize, followersPage, maxFollowers))
	return &followingpb.ListFollowersResponse{AccountIds: followers}, err
}
