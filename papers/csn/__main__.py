from papers.csn.run import main

main()
