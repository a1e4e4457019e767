//! The EXAMPLES of the manual: what people type in other programs, and what they type here. A test runs every line of
//! ours, as it stands there.

/// The programs that people come from, with pairs: their command, and ours.
pub(crate) const BY_PROGRAM: &[(&str, &[(&str, &str)])] = &[
    (
        "From rsync",
        &[
            ("rsync nas::files/", "ferry ls -l nas"),
            ("rsync -a photos/ nas::files/photos/", "ferry sync -u nas photos"),
            ("rsync -an --delete photos/ nas::files/photos/", "ferry sync -unD nas photos"),
            ("rsync -a --delete photos/ nas::files/photos/", "ferry sync -uD nas photos"),
            ("rsync -ac photos/ nas::files/photos/", "ferry sync -uc nas photos"),
            ("rsync -a --exclude '*.tmp' photos/ nas::files/photos/", "ferry sync -u --exclude '*.tmp' nas photos"),
            ("rsync -a --update nas::files/poems/ poems/", "ferry sync -d --update nas poems"),
            ("rsync -aP nas::files/big.iso .", "ferry get nas big.iso"),
            ("rsync -a --max-size 1m nas::files/poems .", "ferry get -r --max-size 1m nas poems"),
        ],
    ),
    (
        "From lftp",
        &[
            ("lftp -c 'open nas; mirror poems'", "ferry get -r nas poems"),
            ("lftp -c 'open nas; mirror -R photos'", "ferry put -r nas photos"),
            ("lftp -c 'open nas; pget -n 4 big.iso'", "ferry get --parallel 4 nas big.iso"),
            ("lftp -c 'open nas; mput *.txt'", "ferry put nas *.txt"),
            (
                "lftp -c 'open nas; mkdir -p a/b; mv notes.txt a/b/'",
                "ferry -c 'OPEN nas; MKDIR -p a/b; MV notes.txt a/b'",
            ),
            ("lftp -c 'open nas; find a'", "ferry find nas a"),
            ("lftp -c 'open nas; du -s a'", "ferry du -s nas a"),
            ("lftp -c 'open nas; rm -r a'", "ferry rm -r nas a"),
        ],
    ),
    (
        "From curl and wget",
        &[
            ("curl -O http://nas/hello.txt", "ferry get nas hello.txt"),
            ("curl -o copy.txt http://nas/hello.txt", "ferry get nas hello.txt -o copy.txt"),
            ("curl http://nas/hello.txt | wc -c", "ferry cat nas hello.txt | wc -c"),
            ("curl -C - -O http://nas/big.iso", "ferry get nas big.iso"),
            ("curl -T hello.txt http://nas/", "ferry put nas hello.txt"),
            ("tar c poems | curl -T - http://nas/poems.tar", "tar c poems | ferry put nas - -o poems.tar"),
            ("curl -I http://nas/hello.txt", "ferry stat nas hello.txt"),
            ("curl --retry 9 -O http://nas/hello.txt", "ferry get --retry 9 nas hello.txt"),
            ("wget -r http://nas/poems/", "ferry get -r nas poems"),
        ],
    ),
    (
        "From what one types on the server itself",
        &[
            ("ssh nas df -h /files", "ferry df -h nas"),
            ("ssh nas sha256sum /files/hello.txt", "ferry sum --sha256 --tag nas hello.txt > SUMS"),
            ("ssh nas sha256sum -c SUMS", "ferry sum nas --check SUMS"),
            ("ssh nas tree /files/poems", "ferry tree nas poems"),
            ("ssh nas find /files -name '*.txt'", "ferry find nas --name '*.txt'"),
        ],
    ),
];
