package media

import (
	"encoding/hex"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	mediapb "techtalks.example/proto/techtalks/media/v1"
)

// message returns the upload's protocol message.
func (u upload) message() *mediapb.Upload {
	m := &mediapb.Upload{
		Name: "uploads/" + u.id, Offset: u.file.size, FileName: u.fileName, ContentType: u.contentType,
		Whole: u.file.complete(), Sha256: hex.EncodeToString(u.file.sha256),
		CreateTime: timestamppb.New(u.createTime), ExpireTime: timestamppb.New(u.expireTime),
	}
	if u.size > 0 {
		m.Size = proto.Int64(u.size)
	}
	return m
}

// message returns the file's protocol message.
func (f namedFile) message() *mediapb.File {
	return &mediapb.File{
		Name: f.ref.String(), Size: f.size, ContentType: f.contentType, Sha256: hex.EncodeToString(f.sha256),
		FileName: f.fileName, UpdateTime: timestamppb.New(f.updateTime),
	}
}

// message returns the recording's protocol message.
func (r recording) message() *mediapb.Recording {
	m := &mediapb.Recording{Name: "recordings/" + r.id, LeftOut: r.leftOut}
	if r.duration > 0 {
		m.Duration = durationpb.New(r.duration)
	}
	for _, f := range r.renditions {
		m.Renditions = append(m.Renditions, &mediapb.Recording_Rendition{
			File: m.Name + "/" + f.name, ContentType: f.contentType, Size: f.size, Width: int32(f.width), Height: int32(f.height),
		})
	}
	if r.hasPoster {
		m.Poster = m.Name + "/" + filePoster
	}
	return m
}
