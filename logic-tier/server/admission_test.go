package server

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// At the bound a call is refused at once, having done nothing; below it again,
// the next is let in.
func TestNoMoreCallsThanThereIsRoomFor(t *testing.T) {
	s := &Server{calls: make(chan struct{}, 2), rules: map[string]rule{"/m": {anyone: true}}}
	info := &grpc.UnaryServerInfo{FullMethod: "/m"}
	inside, leave := make(chan struct{}), make(chan struct{})
	over := make(chan error)
	call := func() {
		_, err := s.admitUnary(t.Context(), nil, info, func(context.Context, any) (any, error) {
			inside <- struct{}{}
			<-leave
			return nil, nil
		})
		over <- err
	}
	for range 2 {
		go call()
		<-inside
	}
	_, err := s.admitUnary(t.Context(), nil, info, func(context.Context, any) (any, error) {
		t.Error("it was let in")
		return nil, nil
	})
	if !errors.Is(err, errFull) || status.Code(toStatus(err)) != codes.ResourceExhausted {
		t.Errorf("it is answered %v", err)
	}
	close(leave)
	for range 2 {
		if err := <-over; err != nil {
			t.Error(err)
		}
	}
	go call()
	<-inside
	if err := <-over; err != nil {
		t.Errorf("with room again: %v", err)
	}
}
