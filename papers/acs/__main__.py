from papers.acs.run import main

main()
