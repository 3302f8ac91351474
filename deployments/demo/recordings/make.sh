#!/bin/sh
# Creates the demo recordings in this folder with ffmpeg (libvpx-vp9, libopus, drawtext): 12 s
# and about 100 KB each. Their titles are in ../recordings.go.
set -eu
cd "$(dirname "$0")"
font=${FONT:-/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf}
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT

# record NAME TITLE FILTERGRAPH: the graph has the outputs [picture] and [sound].
record() {
	name=$1 title=$2 filters=$3
	card="drawbox=y=ih-72:h=72:w=iw:color=0x0b2e3d@0.8:t=fill:enable='lt(t,5)',drawtext=fontfile=$font:text='$title':fontcolor=white:fontsize=26:x=28:y=h-50:enable='lt(t,5)'"
	for pass in 1 2; do
		ffmpeg -v error -nostdin -y -filter_complex "$filters;[picture]$card,format=yuv420p[v];[sound]afade=in:d=0.5,afade=out:st=10:d=2,asetnsamples=960[a]" \
			-map '[v]' -map '[a]' -t 12 -map_metadata -1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact \
			-c:v libvpx-vp9 -b:v 42k -maxrate 120k -pass $pass -passlogfile "$log/$name" -deadline good -cpu-used 2 -g 240 \
			-c:a libopus -b:a 20k -ac 1 "$name.webm"
	done
}

# chord A B C: three tones whose volume swells.
chord() {
	echo "aevalsrc=exprs='0.12*(sin(2*PI*$1*t)+sin(2*PI*$2*t)+sin(2*PI*$3*t))*(0.6+0.4*sin(PI*t))':s=48000"
}

# stage: a dark, empty picture.
stage() {
	echo "color=0x0b2e3d:s=640x360:r=20"
}

label() { echo "drawtext=fontfile=$font:text='$1':fontcolor=0x9fd8e6:fontsize=20:x=$2:y=$3"; }

dot() { echo "color=$1:s=16x16:r=20"; }

# An event occurs every four seconds. A short poll asks repeatedly, a long poll waits at the
# server, and push receives on an open connection.
ask='68+480*(1-abs(2*mod(t\,1)-1))'
hold='68+480*if(lt(mod(t\,4)\,0.5)\,2*mod(t\,4)\,if(lt(mod(t\,4)\,3.5)\,1\,2*(4-mod(t\,4))))'
push='if(gt(mod(t\,4)\,3.5)\,68+480*2*(4-mod(t\,4))\,-50)'
record poll-and-push 'Short poll, long poll, push' "$(stage),$(label client 36 24),$(label server 536 24),$(label 'short poll' 270 50),$(label 'long poll' 270 126),$(label push 270 202),drawbox=x=60:y=84:w=504:h=2:color=0x2b90b6:t=fill,drawbox=x=60:y=160:w=504:h=2:color=0x2b90b6:t=fill,drawbox=x=60:y=236:w=504:h=2:color=0x2b90b6:t=fill[s];
$(dot 0x4EC5D4)[d1];$(dot 0xffd166)[d2];$(dot 0xef6f6c)[d3];[s][d1]overlay=x='$ask':y=77:eval=frame[s1];[s1][d2]overlay=x='$hold':y=153:eval=frame[s2];[s2][d3]overlay=x='$push':y=229:eval=frame[picture];
aevalsrc=exprs='0.1*sin(2*PI*440*t)*exp(-9*mod(t\,1))+0.2*sin(2*PI*659*t)*exp(-3*mod(t+0.5\,4))':s=48000[sound]"

# Messages enter on the left, wait in the queue, and move to one of two consumers.
way() { echo "if(lt(t\,$1)\,-50\,if(lt(t-$1\,1)\,80+180*(t-$1)\,if(lt(t-$1\,3)\,260+50*(t-$1-1)\,360+180*min(t-$1-3\,1))))"; }
fork() { echo "172+$2*90*clip(t-$1-3\,0\,1)"; }
messages="" last=s0
for i in 0 1 2 3 4 5 6 7; do
	side=$((i % 2 * 2 - 1))
	messages="$messages;$(dot 0xffd166)[m$i];[$last][m$i]overlay=x='$(way $i)':y='$(fork $i $side)':eval=frame[s$((i + 1))x]"
	last=s$((i + 1))x
done
record message-queue 'A message queue' "$(stage),$(label producer 36 130),$(label queue 288 130),$(label consumer 500 52),$(label consumer 500 232),drawbox=x=36:y=160:w=60:h=40:color=0x2b90b6:t=fill,drawbox=x=256:y=160:w=126:h=40:color=0x4EC5D4:t=2,drawbox=x=520:y=78:w=60:h=40:color=0x2b90b6:t=fill,drawbox=x=520:y=258:w=60:h=40:color=0x2b90b6:t=fill[s0]$messages;[$last]null[picture];
aevalsrc=exprs='0.15*sin(2*PI*(330+55*floor(mod(t\,8)))*t)*exp(-5*mod(t\,1))':s=48000[sound]"

record mandelbrot 'Into the Mandelbrot set' "mandelbrot=size=640x360:rate=10:maxiter=300:start_scale=2.4:end_scale=0.35:end_pts=120:outer=normalized_iteration_count,gblur=sigma=1.5[picture];$(chord 220 277.2 329.6)[sound]"

record game-of-life 'The game of life' "life=size=64x36:mold=20:rate=5:ratio=0.3:seed=11:death_color=#146b8c:life_color=#4EC5D4:mold_color=#0b2e3d,scale=640:360:flags=neighbor[picture];$(chord 261.6 329.6 392)[sound]"

record gradients 'Gradients that move' "gradients=size=640x360:rate=15:c0=0x0b2e3d:c1=0x4EC5D4:c2=0xffd166:c3=0xef6f6c:nb_colors=4:speed=0.03:seed=3:type=linear:duration=12[picture];$(chord 196 246.9 293.7)[sound]"

record two-tones 'How two tones draw a curve' "aevalsrc=exprs='0.4*sin(2*PI*200*t)|0.4*sin(2*PI*300.25*t)':s=48000,asplit[curve][sound];[curve]avectorscope=s=360x360:rate=15:mode=lissajous_xy:draw=line:zoom=2:rc=78:gc=197:bc=212:rf=40:gf=40:bf=40,pad=640:360:140:0:color=0x04141b[picture]"
